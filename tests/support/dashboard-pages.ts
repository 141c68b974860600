/** Pages of the dashboard that are looked at one by one. */

/** A page by its address, and the heading that it has when it is there. */
export type PageOf = readonly [hash: string, heading: string];

/** Every kind of page on a stack with such runs, and the pages of a sweep where there is one. Ids. */
export const pagesOf = (
  { pretrain, autoencode, embed, walk }: Record<'pretrain' | 'autoencode' | 'embed' | 'walk', string>,
  sweep: string | undefined,
): PageOf[] => [
  ['#/', 'Overview'],
  ['#/runs', 'Runs'],
  ['#/runs?name=nothing-like-this', 'Runs'],
  [`#/runs/${pretrain}`, 'first-pretraining'],
  [`#/runs/${pretrain}?tab=files`, 'first-pretraining'],
  [`#/runs/${pretrain}?tab=events`, 'first-pretraining'],
  [`#/runs/${pretrain}?tab=spec`, 'first-pretraining'],
  [`#/runs/${walk}`, 'walk'],
  [`#/compare?runs=${pretrain},${autoencode}`, 'Compare 2 runs'],
  ['#/sweeps', 'Sweeps'],
  ['#/maps', 'Latent maps'],
  [`#/maps/${embed}`, 'map-of-features'],
  ['#/datasets', 'Datasets'],
  ['#/datasets/stripes', 'stripes'],
  ['#/add-dataset', 'Add a dataset'],
  ['#/machines', 'Workers'],
  ['#/models', 'Models'],
  ['#/add-model', 'Add a model'],
  ['#/notices', 'Notices'],
  ['#/reports', 'Reports'],
  ['#/write-report', 'New report'],
  ['#/new', 'New sweep or run'],
  ...(sweep === undefined
    ? []
    : ([
        [`#/sweeps/${sweep}`, 'pairs-of-views'],
        [`#/sweeps/${sweep}?tab=trials`, 'pairs-of-views'],
      ] as const)),
];
