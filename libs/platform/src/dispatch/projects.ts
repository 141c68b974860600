import {
  ACTIVE_STATUSES,
  UNDER_WAY_STATUSES,
  WAITING_STATUSES,
  type Project,
  type ProjectSettings,
} from '#libs/contracts';
import type { z } from 'zod';
import { Prisma, type Database } from '../machine/database.js';
import { attemptSeconds, hasStatus, interval } from '../runs/sql.js';
import { usedSeconds } from './waiting-line.js';

export type ProjectRecord = z.input<typeof Project>;

/** Attempts of the last moments are not charged yet: they tell how fast runs follow each other. */
const CHARGE_AFTER_MS = 2000;
const CHARGE_BATCH = 5000;

/** Who shares the workers, and by which rules. */
export class ProjectStore {
  constructor(private readonly database: Database) {}

  /** By name. */
  async list(): Promise<ProjectRecord[]> {
    const rows = await this.database.prisma.$queryRaw<Omit<ProjectRecord, 'gpuSecondsUsed'>[]>`
      SELECT
        p.name,
        p.weight,
        p.max_running AS "maxRunning",
        p.gpu_seconds AS "gpuSeconds",
        p.max_seconds AS "maxSeconds",
        p.created_at AS "createdAt",
        coalesce(sum(r.runs) FILTER (WHERE ${hasStatus(ACTIVE_STATUSES, 'r')}), 0)::int AS running,
        coalesce(sum(r.runs) FILTER (WHERE ${hasStatus(WAITING_STATUSES, 'r')}), 0)::int AS waiting
      FROM project p LEFT JOIN (
        SELECT project, status, count(*) AS runs
        FROM run
        WHERE ${hasStatus(UNDER_WAY_STATUSES)}
        GROUP BY project, status) AS r ON r.project = p.name
      GROUP BY p.name
      ORDER BY p.name`;
    const used = await usedSeconds(this.database.prisma);
    return rows.map((row) => ({ ...row, gpuSecondsUsed: used.get(row.name) ?? 0 }));
  }

  /**
   * Makes a project, or changes what is said of one: what is left out stays, null lifts a quota. The leader hears of it
   * at once.
   */
  async put(name: string, settings: ProjectSettings): Promise<ProjectRecord> {
    const { weight, maxRunning, gpuSeconds, maxSeconds } = settings;
    const given = (column: string, value: unknown) =>
      Prisma.raw(`${value === undefined ? 'project' : 'excluded'}.${column}`);
    // A new project begins at the virtual time that the others have reached.
    await this.database.prisma.$executeRaw`
      INSERT INTO project (name, weight, max_running, gpu_seconds, max_seconds, tag)
      SELECT
        ${name},
        ${weight ?? 1}::float8,
        ${maxRunning ?? null}::int,
        ${gpuSeconds ?? null}::float8,
        ${maxSeconds ?? null}::float8,
        coalesce(max(tag), 0)
      FROM project
      ON CONFLICT (name) DO UPDATE SET
        weight = ${given('weight', weight)},
        max_running = ${given('max_running', maxRunning)},
        gpu_seconds = ${given('gpu_seconds', gpuSeconds)},
        max_seconds = ${given('max_seconds', maxSeconds)}`;
    await this.database.prisma.$executeRaw`SELECT pg_notify('outbox', '')`;
    return (await this.list()).find((project) => project.name === name)!;
  }

  /** Adds the seconds of attempts that have ended, but for the last moments, to what their projects have used. */
  async charge(): Promise<void> {
    for (let charged = CHARGE_BATCH; charged === CHARGE_BATCH;) {
      const [row] = await this.database.prisma.$queryRaw<{ charged: number }[]>(batchCharged);
      charged = row!.charged;
    }
  }
}

/** Marks attempts as charged and adds their seconds, in one statement: none is added twice, or marked and not added. */
const batchCharged = Prisma.sql`
  WITH batch AS (
      SELECT run_id, attempt
      FROM attempt
      WHERE NOT charged AND ended_at < now() - ${interval(CHARGE_AFTER_MS)}
      LIMIT ${CHARGE_BATCH}
      FOR UPDATE SKIP LOCKED),
    ended AS (
      UPDATE attempt SET charged = true
      FROM batch JOIN run ON run.id = batch.run_id
      WHERE attempt.run_id = batch.run_id AND attempt.attempt = batch.attempt
      RETURNING run.project, ${attemptSeconds()} AS seconds),
    sums AS (
      SELECT project, sum(seconds)::float8 AS seconds
      FROM ended
      GROUP BY project),
    spent AS (
      UPDATE project SET spent = spent + sums.seconds
      FROM sums
      WHERE project.name = sums.project)
  SELECT count(*)::int AS charged
  FROM ended`;
