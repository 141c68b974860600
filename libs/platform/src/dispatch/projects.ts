import type { Project, ProjectSettings } from '#libs/contracts';
import type { z } from 'zod';
import { Prisma, type Database } from '../machine/database.js';
import { usedSeconds } from './waiting-line.js';

export type ProjectRecord = z.input<typeof Project>;

/** Who shares the workers, and by which rules. */
export class ProjectStore {
  constructor(private readonly database: Database) {}

  /** By name. */
  async list(): Promise<ProjectRecord[]> {
    const rows = await this.database.prisma.$queryRaw<Omit<ProjectRecord, 'gpuSecondsUsed'>[]>`
      SELECT p.name, p.weight, p.max_running AS "maxRunning", p.gpu_seconds AS "gpuSeconds", p.created_at AS "createdAt",
        coalesce(sum(r.runs) FILTER (WHERE r.status IN ('running', 'pausing', 'cancelling')), 0)::int AS running, coalesce(sum(r.runs) FILTER (WHERE r.status IN ('queued', 'retrying')), 0)::int AS waiting
      FROM project p LEFT JOIN (
        SELECT project, status, count(*) AS runs FROM run WHERE status IN ('running', 'pausing', 'cancelling', 'queued', 'retrying') GROUP BY project, status) AS r ON r.project = p.name
      GROUP BY p.name ORDER BY p.name`;
    const used = await usedSeconds(this.database.prisma);
    return rows.map((row) => ({ ...row, gpuSecondsUsed: used.get(row.name) ?? 0 }));
  }

  /**
   * Makes a project, or changes what is said of one: what is left out stays, null lifts a quota. The leader hears of it
   * at once.
   */
  async put(name: string, { weight, maxRunning, gpuSeconds }: ProjectSettings): Promise<ProjectRecord> {
    // One that is new begins where the others are.
    await this.database.prisma.$executeRaw`
      INSERT INTO project (name, weight, max_running, gpu_seconds, tag) SELECT ${name}, ${weight ?? 1}::float8, ${maxRunning ?? null}::int, ${gpuSeconds ?? null}::float8, coalesce(max(tag), 0) FROM project
      ON CONFLICT (name) DO UPDATE SET weight = ${weight === undefined ? Prisma.sql`project.weight` : Prisma.sql`excluded.weight`},
        max_running = ${maxRunning === undefined ? Prisma.sql`project.max_running` : Prisma.sql`excluded.max_running`}, gpu_seconds = ${gpuSeconds === undefined ? Prisma.sql`project.gpu_seconds` : Prisma.sql`excluded.gpu_seconds`}`;
    await this.database.prisma.$executeRaw`SELECT pg_notify('outbox', '')`;
    return (await this.list()).find((project) => project.name === name)!;
  }
}
