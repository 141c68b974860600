/** Pages of the dashboard that are looked at one by one. */
import type { LoomClient } from '#libs/contracts';

/** A page by its address, and the heading that it has when it is there. */
export type PageOf = readonly [hash: string, heading: string];

/** Ids of runs and of a report, and the name of a model. */
type Named = Record<'pretrain' | 'autoencode' | 'embed' | 'walk' | 'report' | 'model', string>;

/** Writes a report of these runs. @returns its id */
export async function writeReport(
  client: LoomClient,
  { pretrain, autoencode, embed }: Pick<Named, 'pretrain' | 'autoencode' | 'embed'>,
): Promise<string> {
  const { id } = await client.addReport({
    title: REPORT,
    blocks: [
      { type: 'text', markdown: '# What we saw\n\nBoth **learn**.' },
      { type: 'chart', metric: 'train/loss', runs: [pretrain, autoencode] },
      { type: 'map', run: embed },
    ],
  });
  return id;
}
const REPORT = 'Week 12';

/**
 * Every kind of page on a stack that has these, the report as `writeReport` writes it, and the pages of a sweep where
 * there is one, by its id.
 */
export const pagesOf = (
  { pretrain, autoencode, embed, walk, report, model }: Named,
  sweep: string | undefined,
): PageOf[] => [
  ['#/', 'Overview'],
  ['#/runs', 'Runs'],
  ['#/runs?name=nothing-like-this', 'Runs'],
  ['#/runs?group=kind', 'Runs'],
  [`#/runs/${pretrain}`, 'first-pretraining'],
  ...['files', 'events', 'log', 'machine', 'spec'].map((tab): PageOf => [
    `#/runs/${pretrain}?tab=${tab}`,
    'first-pretraining',
  ]),
  [`#/runs/${walk}`, 'walk'],
  [`#/compare?runs=${pretrain},${autoencode}`, 'Compare 2 runs'],
  ['#/compare', 'Compare'],
  ['#/sweeps', 'Sweeps'],
  ['#/maps', 'Latent maps'],
  [`#/maps/${embed}`, 'map-of-features'],
  ['#/datasets', 'Datasets'],
  ['#/datasets/stripes', 'stripes'],
  ['#/add-dataset', 'Add a dataset'],
  ['#/machines', 'Workers'],
  ['#/models', 'Models'],
  [`#/models/${model}`, model],
  ['#/models/unknown', 'unknown'],
  ['#/add-model', 'Add a model'],
  ['#/notices', 'Notices'],
  ['#/reports', 'Reports'],
  [`#/reports/${report}`, REPORT],
  [`#/reports/${report}?edit=1`, `Edit ${REPORT}`],
  ['#/write-report', 'New report'],
  ['#/new', 'New sweep or run'],
  ['#/nowhere', 'Not found'],
  ...(sweep === undefined
    ? []
    : ['', '?tab=trials', '?tab=runs', '?tab=spec'].map((query): PageOf => [
        `#/sweeps/${sweep}${query}`,
        'pairs-of-views',
      ])),
];

/** Each kind of page once: without the tabs of one, what is narrowed or empty, and what other files look at. */
export const ofTheirOwnKind = (pages: readonly PageOf[]): PageOf[] =>
  pages.filter(([hash]) => !/\?(tab|name|group)=|\/(unknown|compare)$|\/reports\//.test(hash));
