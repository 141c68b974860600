/** Pages of versions that are looked through for those of one name. */
const PAGE = 500;
const MOST_PAGES = 20;

/** All versions of what is called so, the newest first, of a list of all versions of everything. */
export async function versionsOf<Version extends { name: string }>(
  name: string,
  list: (page: { limit: number; cursor?: string }) => Promise<{ items: Version[]; nextCursor: string | null }>,
): Promise<Version[]> {
  const found: Version[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const { items, nextCursor } = await list({ limit: PAGE, ...(cursor !== undefined && { cursor }) });
    found.push(...items.filter((item) => item.name === name));
    if (nextCursor === null) break;
    cursor = nextCursor;
  }
  return found;
}
