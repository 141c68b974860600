/** Lists that are told page by page. */
import type { DamagedRow } from './http.js';

export interface PageOf<Item> {
  items: Item[];
  nextCursor: string | null;
  /** What belongs here and can't be told because its row is damaged. */
  damaged?: DamagedRow[] | undefined;
}

/** All items, fetched page by page as they are read. */
export async function* itemsOf<Item>(
  fetchPage: (cursor: { cursor?: string }) => Promise<PageOf<Item>>,
): AsyncGenerator<Item> {
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await fetchPage(cursor === undefined ? {} : { cursor });
    yield* page.items;
    cursor = page.nextCursor;
  }
}
