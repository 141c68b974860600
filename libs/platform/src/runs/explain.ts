/** Why a run is, or is not, another's result. */
import {
  READS_DATA_ROOT,
  canonicalJson,
  encoderModelOf,
  REUSABLE_STATUSES,
  type RunKind,
  type RunSpec,
  type RunStatus,
  type SubmitRun,
  type Why,
} from '#libs/contracts';
import { identifying, runDigest } from './digests.js';
import { intactRows, onlyOne, type IntactRows } from '../checked-row.js';
import { Prisma, type Database } from '../machine/database.js';
import { inTurns } from '../machine/turns.js';
import { RequestError } from '../request-error.js';
import { modelOfRun, specOf } from './records.js';
import type { Submission } from './submission.js';

/** Runs among which the nearest is looked for. */
const NEIGHBOURS = 500;

/** What a digest is made of, field by field. */
interface Identity {
  id: string | null;
  kind: RunKind;
  status: RunStatus | null;
  digest: string;
  fields: Map<string, unknown>;
}
interface RunRow {
  id: string;
  kind: RunKind;
  status: RunStatus;
  digest: string;
  spec: RunSpec;
  datasetDigest: string | null;
  parents: Record<string, string> | null;
}

const leaves = (value: unknown, path: string, into: Map<string, unknown>): Map<string, unknown> => {
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0)
    for (const [key, inner] of Object.entries(value)) leaves(inner, path ? `${path}.${key}` : key, into);
  else if (value !== undefined) into.set(path, value);
  return into;
};

/** `code` is there where an older version of the training code made the run. */
function identityOf({
  id,
  kind,
  status,
  digest,
  spec,
  datasetDigest,
  parents,
}: Omit<RunRow, 'id' | 'status'> & { id: string | null; status: RunStatus | null }): Identity {
  const digestOf = (parent: string | null | undefined) => (parent ? (parents?.[parent] ?? null) : null);
  const named = {
    dataset: datasetDigest,
    from: digestOf('from' in spec ? spec.from : null),
    alignTo: digestOf('alignTo' in spec ? spec.alignTo : null),
    model: digestOf(encoderModelOf(spec)),
  };
  const fields = leaves(identifying(spec, named), '', new Map());
  if (runDigest(spec, named) !== digest) fields.set('code', 'an older version of the training code');
  return { id, kind, status, digest, fields };
}

function compare(here: Identity, there: Identity): Why {
  const names = [...new Set([...here.fields.keys(), ...there.fields.keys()])].sort();
  const differences =
    here.digest === there.digest
      ? []
      : names
          .filter(
            (field) => canonicalJson(here.fields.get(field) ?? null) !== canonicalJson(there.fields.get(field) ?? null),
          )
          .map((field) => ({ field, here: here.fields.get(field) ?? null, there: there.fields.get(field) ?? null }));
  const reusable = there.status !== null && (REUSABLE_STATUSES as readonly RunStatus[]).includes(there.status);
  const same = here.digest === there.digest;
  const reason = (): string => {
    if (here.id !== null && here.id === there.id) return 'it is the same run';
    if (same && READS_DATA_ROOT.includes(here.kind)) {
      const what = here.kind === 'import-model' ? 'models are always taken in' : 'datasets are always prepared';
      return `the specs are equal, but what a folder holds may have changed: ${what} anew`;
    }
    if (same && reusable) return "all that the digest is made of is equal: one is the other's result";
    if (same) return `the specs are equal, but that run is ${there.status} and gives no result: retry it`;
    const first = differences.slice(0, 5).map(({ field }) => field);
    const more = differences.length > 5 ? ', …' : '';
    const differ = differences.length === 1 ? 'field differs' : 'fields differ';
    return `${differences.length} ${differ}: ${first.join(', ')}${more}`;
  };
  return {
    runId: here.id,
    against: there.id,
    digest: here.digest,
    againstDigest: there.digest,
    reused: same && reusable && !READS_DATA_ROOT.includes(here.kind),
    reason: reason(),
    differences,
  };
}

export class Explanations {
  constructor(
    private readonly database: Database,
    private readonly submission: Submission,
  ) {}

  /** A run against another, or against the nearest of its kind. @throws RequestError `not_found`, `damaged` */
  async ofRun(runId: string, against?: string): Promise<Why> {
    const here = onlyOne(await this.identities(Prisma.sql`r.id = ${runId}::uuid`));
    if (!here) throw new RequestError('not_found', `expected the id of a run, got ${runId}: there is no such run`);
    if (against === undefined) return this.nearest(here);
    const there = onlyOne(await this.identities(Prisma.sql`r.id = ${against}::uuid`));
    if (!there)
      throw new RequestError(
        'not_found',
        `expected the id of a run to compare with, got ${against}: there is no such run`,
      );
    return compare(here, there);
  }

  /**
   * What a submit would attach to and why, or what it lacks from the nearest run of its kind. @throws RequestError
   * `invalid_request`
   */
  async ofSubmission({ spec, name }: SubmitRun): Promise<Why> {
    const here = await this.database.transaction(async (tx) => {
      const [placement] = await this.submission.admit(tx, [{ spec, name, path: ['spec'] }], { from: true });
      const parents = await tx.run.findMany({
        where: { id: { in: placement!.parentIds } },
        select: { id: true, digest: true, result: true },
      });
      return identityOf({
        ...placement!,
        id: null,
        kind: spec.kind,
        status: null,
        parents: Object.fromEntries(parents.map((run) => [run.id, modelOfRun(run)?.digest ?? run.digest])),
      });
    });
    return this.nearest(here);
  }

  private async nearest(here: Identity): Promise<Why> {
    const { items: others } = await this.identities(Prisma.sql`
      r.kind = ${here.kind} AND r.id IS DISTINCT FROM ${here.id}::uuid
      ORDER BY r.digest = ${here.digest} DESC, r.status = 'succeeded' DESC, r.created_at DESC
      LIMIT ${NEIGHBOURS}`);
    const compared = await inTurns(others, (there) => compare(here, there));
    const found = compared.sort(
      (a, b) => Number(b.reused) - Number(a.reused) || a.differences.length - b.differences.length,
    );
    return (
      found[0] ?? {
        runId: here.id,
        against: null,
        digest: here.digest,
        againstDigest: null,
        reused: false,
        reason: `no other run of kind ${here.kind} is there`,
        differences: [],
      }
    );
  }

  /** In their order. A damaged run has none. */
  private async identities(condition: Prisma.Sql): Promise<IntactRows<Identity>> {
    const rows = await this.database.prisma.$queryRaw<RunRow[]>`
      SELECT r.id, r.kind, r.status::text AS status, r.digest, r.spec, r.dataset_digest AS "datasetDigest",
        (
          SELECT jsonb_object_agg(p.id::text, coalesce(p.result->'model'->>'digest', p.digest))
          FROM run_dependency d JOIN run p ON p.id = d.parent_id
          WHERE d.run_id = r.id) AS parents
      FROM run r
      WHERE ${condition}`;
    return intactRows(rows, (row) => {
      specOf(row);
      return identityOf(row);
    });
  }
}
