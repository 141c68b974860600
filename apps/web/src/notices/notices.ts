/** Looks for what somebody wants to hear of, for as long as a page is open, and tells of it. Kept by the browser. */
import { ApiError, type Run } from '#libs/contracts';
import { Coalesced } from '../data/coalesced.js';
import { client, heardOf } from '../data/connection.js';
import { followHidden, onChanges } from '../data/queries.js';
import { Watched } from '../data/watched.js';
import { Kept } from './kept.js';
import { newsOf, standingOfRun, type Notice, type Standing, type Watch } from './watches.js';

const LOOK_MS = 2000;

// An older dashboard may have kept something else. No schemas: every page would have to load what checks them.
const hasTexts = (value: unknown, ...fields: string[]): boolean =>
  typeof value === 'object' &&
  value !== null &&
  fields.every((field) => typeof (value as Record<string, unknown>)[field] === 'string');

export const watches = new Kept<Watch>(
  'watches',
  (value): value is Watch => hasTexts(value, 'id', 'of', 'target', 'name'),
  100,
);
export const notices = new Kept<Notice>(
  'notices',
  (value): value is Notice => hasTexts(value, 'id', 'title', 'text', 'href') && Number.isFinite((value as Notice).at),
  100,
);

export function watch(wanted: Omit<Watch, 'id'>): void {
  const id = `${wanted.of} ${wanted.target} ${wanted.where ?? 'ends'}`;
  watches.change((all) => [{ ...wanted, id }, ...all.filter((each) => each.id !== id)]);
}
export const unwatch = (id: string): void => watches.change((all) => all.filter((each) => each.id !== id));
export const markSeen = (): void => notices.change((all) => all.map((each) => ({ ...each, seen: true })));

// Of the system

export type Permission = 'granted' | 'denied' | 'default' | 'none';
/** Browsers have it only on pages whose connection nobody can listen to. */
const permissionNow = (): Permission => ('Notification' in globalThis ? Notification.permission : 'none');
export const permission = new Watched<Permission>(permissionNow());

/** Asks whether the browser may show notices beside the page; browsers want a click before. */
export async function askPermission(): Promise<void> {
  if ('Notification' in globalThis) await Notification.requestPermission();
  permission.set(permissionNow());
}

function show({ id, title, text: body, href }: Notice): void {
  if (permissionNow() !== 'granted') return;
  try {
    const shown = new Notification(title, { body, tag: id });
    shown.onclick = () => {
      focus();
      location.hash = href;
      shown.close();
    };
  } catch {
    // Browsers of phones show none from a page: it is in the list.
  }
}

// Looking

/** Whether this page looks for all that the browser has open. */
const looks = new Watched(false);
const looking = new Coalesced(async () => {
  if (looks.get()) await look().catch(heardOf);
}, LOOK_MS);

/** A page that nobody sees stays connected where something is wanted, and where it is the one that looks. */
const needed = () => followHidden(looks.get() && watches.get().length > 0);
// Also what another page wants to hear of.
watches.watch(() => {
  needed();
  looking.ask();
});
looks.watch(needed);
onChanges(() => {
  if (watches.get().length > 0) looking.ask();
});

// One of all pages of this browser looks, and another when that is closed.
if ('locks' in navigator)
  void navigator.locks.request('notices', async () => {
    looks.set(true);
    looking.ask();
    await new Promise(() => undefined);
  });
// Where pages can't agree each looks; whoever finds it first tells.
else looks.set(true);

async function look(): Promise<void> {
  const all = watches.get();
  if (all.length === 0) return;
  const standings = new Map([...(await standingsOfRuns(all)), ...(await standingsOfSweeps(all))]);
  for (const each of all) {
    const standing = standings.get(each.id);
    // What was deleted has nothing more to tell.
    if (!standing) unwatch(each.id);
    else tell(each, standing);
  }
}

function tell(wanted: Watch, standing: Standing): void {
  const news = newsOf(wanted, standing);
  if (!news) return;
  let mine = false;
  watches.change((all) => {
    mine = all.some(({ id }) => id === wanted.id);
    return all.filter(({ id }) => id !== wanted.id);
  });
  // Another page was first.
  if (!mine) return;
  const at = Date.now();
  const notice: Notice = { ...news, id: `${wanted.id} ${at}`, at, seen: false };
  notices.change((all) => [notice, ...all]);
  show(notice);
}

/** By watch; all runs in one question. */
async function standingsOfRuns(all: readonly Watch[]): Promise<[string, Standing][]> {
  const wanted = all.filter(({ of }) => of === 'run');
  if (wanted.length === 0) return [];
  const id = [...new Set(wanted.map(({ target }) => target))];
  const { items } = await client.runs({ id, limit: 500 });
  const runs = new Map<string, Run>(items.map((run) => [run.id, run]));
  return wanted.flatMap((each): [string, Standing][] => {
    const run = runs.get(each.target);
    return run ? [[each.id, standingOfRun(run, each.where)]] : [];
  });
}

/** By watch; of those that go on one question says that they do. */
async function standingsOfSweeps(all: readonly Watch[]): Promise<[string, Standing][]> {
  const wanted = all.filter(({ of }) => of === 'sweep');
  if (wanted.length === 0) return [];
  const { items } = await client.sweeps({ status: ['running', 'paused'], limit: 500 });
  const live = new Map(items.map(({ id, status }) => [id, status as string]));
  const found: [string, Standing][] = [];
  for (const { id, target, where } of wanted) {
    const status = live.get(target) ?? (await statusOfSweep(target));
    if (status === undefined) continue;
    const reached =
      where === undefined ? undefined : (await client.runs({ sweep: target, where: [where], limit: 1 })).items[0];
    const value = reached && where !== undefined ? standingOfRun(reached, where).reached : undefined;
    found.push([id, { status, ended: !live.has(target), reached: value }]);
  }
  return found;
}

const statusOfSweep = (id: string): Promise<string | undefined> =>
  client.sweep(id).then(
    ({ status }) => status,
    (error: unknown) => {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    },
  );
