/** Commands that compare runs: `why` one is not another's result, and `compare` side by side. */
import { diffSpecs, isUsage } from '#libs/contracts';
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { client, out, show } from '../program.js';
import { runId, runIds } from '../references.js';
import { comparisonText, table, type Comparison } from '../render.js';

const CURVE_POINTS = 200;
const MOST_COMPARED = 20;

export function addWhy(program: Command): void {
  program
    .command('why <id> [against]')
    .description("why a run is, or is not, another's result: field by field")
    .action(async (id: string, against?: string) => {
      const api = await client();
      const why = await api.why(await runId(api, id), against === undefined ? undefined : await runId(api, against));
      show(
        why,
        () =>
          `${why.against ?? 'nothing'}: ${why.reason}\n${
            why.differences.length
              ? table(
                  ['field', 'here', 'there'],
                  why.differences.map(({ field, here, there }) => [field, JSON.stringify(here), JSON.stringify(there)]),
                  out,
                )
              : ''
          }`,
      );
    });
}

export function addCompare(program: Command): void {
  program
    .command('compare <run...>')
    .description('metrics, curves and specs of runs side by side')
    .option('--every-field', 'also fields of the specs that are equal')
    .action(async (given: string[], { everyField = false }: { everyField?: boolean }) => {
      const several = (texts: readonly string[]) => {
        if (texts.length < 2 || texts.length > MOST_COMPARED || new Set(texts).size < texts.length)
          throw new UsageError(`expected 2 to ${MOST_COMPARED} different runs, got ${texts.join(', ')}`);
      };
      several(given);
      const api = await client();
      const ids = await runIds(api, given);
      several(ids);
      const runs = await Promise.all(ids.map((id) => api.run(id)));
      const series = await Promise.all(
        ids.map(async (id) => {
          const trained = (await api.metrics(id, { points: CURVE_POINTS })).filter(({ key }) => !isUsage(key));
          return new Map(trained.map(({ key, points }) => [key, points]));
        }),
      );
      // A run that has not ended has no result yet: its last points stand for it.
      const last = runs.map(
        ({ result }, i) =>
          result?.metrics ?? Object.fromEntries([...series[i]!].map(([key, points]) => [key, points.at(-1)!.value])),
      );
      const curved = [
        ...new Set(
          series.flatMap((curves) => [...curves].flatMap(([key, points]) => (points.length > 1 ? [key] : []))),
        ),
      ].sort();
      const comparison: Comparison = {
        runs,
        spec: diffSpecs(runs.map(({ spec }) => spec)),
        metrics: Object.fromEntries(
          [...new Set(last.flatMap((metrics) => Object.keys(metrics)))]
            .sort()
            .map((key) => [key, last.map((metrics) => metrics[key] ?? null)]),
        ),
        curves: Object.fromEntries(curved.map((key) => [key, series.map((curves) => curves.get(key) ?? null)])),
      };
      show(comparison, () => comparisonText(comparison, out, everyField));
    });
}
