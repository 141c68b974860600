/** A report while it is written: kept in the browser until it is saved, so that a page that is left takes nothing. */
import { faultsOf, WriteReport, type Report, type ReportBlock } from '#libs/contracts';

/** `key`: what a block is known by while it moves. */
export interface DraftBlock {
  key: number;
  block: ReportBlock;
}
export interface Draft {
  title: string;
  blocks: readonly DraftBlock[];
  /** Of the report that is edited; 0 of a new one. */
  version: number;
}

const place = (id: string | undefined) => `report:${id ?? 'new'}`;

/** What was left unsaved, else the report, or an empty one. */
export function draftOf(report: Report | undefined): Draft {
  const kept = sessionStorage.getItem(place(report?.id));
  if (kept !== null) return JSON.parse(kept) as Draft;
  return {
    title: report?.title ?? '',
    version: report?.version ?? 0,
    blocks: (report?.blocks ?? []).map((block, key) => ({ key, block })),
  };
}
export const keepDraft = (id: string | undefined, draft: Draft): void =>
  sessionStorage.setItem(place(id), JSON.stringify(draft));
export const forgetDraft = (id: string | undefined): void => sessionStorage.removeItem(place(id));

/** What is to be saved. */
export const writtenIn = ({ title, blocks }: Draft): WriteReport => ({
  title: title.trim(),
  blocks: blocks.map(({ block }) => block),
});

/** What keeps a draft from being saved, by where it is: `title`, `blocks`, or the place of a block. */
export function faultsIn(draft: Draft): ReadonlyMap<string, string> {
  const { error } = WriteReport.safeParse(writtenIn(draft), { reportInput: true });
  const faults = new Map<string, string>();
  for (const { path, message } of error?.issues.flatMap(faultsOf) ?? []) {
    const [field, at, ...rest] = path.map(String);
    const where = field === 'blocks' && at !== undefined ? at : (field ?? '');
    if (!faults.has(where)) faults.set(where, [rest.join('.'), message].filter(Boolean).join(': '));
  }
  return faults;
}

/** Blocks as they begin. What has to be chosen is empty, and told as missing until it is. */
export const NEW_BLOCKS: Record<ReportBlock['type'], { word: string; block: ReportBlock }> = {
  text: { word: 'Text', block: { type: 'text', markdown: '' } },
  chart: {
    word: 'Chart',
    block: { type: 'chart', metric: 'train/loss', runs: [], axis: 'step', log: false, smoothing: 0 },
  },
  table: { word: 'Table of runs', block: { type: 'table', runs: [], columns: ['status', 'created', 'duration'] } },
  sweep: { word: 'Figure of a sweep', block: { type: 'sweep', sweep: '', figure: 'composition' } },
  map: { word: 'Latent map', block: { type: 'map', run: '' } },
};

export const withBlock = (draft: Draft, type: ReportBlock['type']): Draft => ({
  ...draft,
  blocks: [
    ...draft.blocks,
    { key: 1 + Math.max(-1, ...draft.blocks.map(({ key }) => key)), block: NEW_BLOCKS[type].block },
  ],
});
export const changedBlock = (draft: Draft, key: number, block: ReportBlock): Draft => ({
  ...draft,
  blocks: draft.blocks.map((each) => (each.key === key ? { key, block } : each)),
});
export const withoutBlock = (draft: Draft, key: number): Draft => ({
  ...draft,
  blocks: draft.blocks.filter((each) => each.key !== key),
});
/** With a block one place up (-1) or down (1). */
export function movedBlock(draft: Draft, key: number, by: -1 | 1): Draft {
  const at = draft.blocks.findIndex((each) => each.key === key);
  const blocks = [...draft.blocks];
  const [moved] = blocks.splice(at, 1);
  blocks.splice(Math.max(0, at + by), 0, moved!);
  return { ...draft, blocks };
}
