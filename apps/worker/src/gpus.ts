import type { Gpu } from '#libs/contracts';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const FIELDS = ['index', 'uuid', 'name', 'memory.total', 'driver_version'];
const TIMEOUT_MS = 20_000;

/** What a trainer can be given: a card, or an instance that MIG has made of a part of one. */
interface Device extends Gpu {
  /** UUID of the card. */
  card: string;
}

/** What nvidia-smi prints; undefined where there is no NVIDIA driver. */
export async function askNvidiaSmi(options: readonly string[], timeout = TIMEOUT_MS): Promise<string | undefined> {
  try {
    return (await promisify(execFile)('nvidia-smi', options, { timeout })).stdout;
  } catch {
    return undefined;
  }
}

/** The cards in a table of `FIELDS`; memory in MiB. */
function parseCards(csv: string): Device[] {
  return csv
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [index = '', uuid = '', name = '', memory = '', driver = ''] = line.split(',').map((cell) => cell.trim());
      // A GPU that shares its memory with the machine has none of its own to tell.
      const memoryMiB = Number.isFinite(Number(memory)) ? Number(memory) : 0;
      return { index: Number(index), uuid, name, memoryMiB, driver, card: uuid };
    })
    .filter(({ index, uuid }) => Number.isInteger(index) && uuid.startsWith('GPU-'));
}

/** `3g.20gb`, in decimal gigabytes; such a profile has a little more. In MiB, and 0 where the profile does not say. */
function memoryOfProfile(profile: string): number {
  const gigabytes = Number(/\.(\d+)gb/.exec(profile)?.[1] ?? 0);
  return Math.floor((gigabytes * 1e9) / 2 ** 20);
}

/** The instances that `nvidia-smi -L` lists below their cards. */
function parseInstances(listing: string, cards: readonly Device[]): Device[] {
  const instances: Device[] = [];
  let card: Device | undefined;
  for (const line of listing.split('\n')) {
    const [, cardUuid] = /^GPU \d+: .*\(UUID: (GPU-[^)\s]+)\)/.exec(line) ?? [];
    if (cardUuid) card = cards.find(({ uuid }) => uuid === cardUuid);
    const [, profile, uuid] = /^\s+MIG\s+(\S+)\s+Device\s+\d+:\s+\(UUID: (MIG-[^)\s]+)\)/.exec(line) ?? [];
    if (card && profile && uuid)
      instances.push({ ...card, uuid, name: `${card.name} MIG ${profile}`, memoryMiB: memoryOfProfile(profile) });
  }
  return instances;
}

/** True where an entry of CUDA_VISIBLE_DEVICES names this device, or the card that it is a part of. */
function names(entry: string, { index, uuid, card }: Device): boolean {
  if (entry.startsWith('GPU-')) return card.startsWith(entry);
  // The end of a path is a number, of which another may be the beginning.
  if (entry.startsWith('MIG-')) return entry.includes('/') ? uuid === entry : uuid.startsWith(entry);
  return entry === String(index);
}

/**
 * The instance that `MIG-GPU-<card>/<GPU instance>/<compute instance>` names. Drivers from 470 on list another id for
 * it and take this one too.
 */
function instanceByPath(entry: string, cards: readonly Device[]): Device | undefined {
  const [, cardUuid, instance] = /^MIG-(GPU-[^/]+)\/(\d+\/\d+)$/.exec(entry) ?? [];
  const card = cards.find(({ uuid }) => uuid === cardUuid);
  return card && { ...card, uuid: entry, name: `${card.name} MIG ${instance}`, memoryMiB: 0 };
}

/**
 * The GPUs that this machine has and that `visible`, a worker's own CUDA_VISIBLE_DEVICES, leaves to it; none where
 * there is no NVIDIA driver. A card that MIG has divided is its instances: CUDA computes on nothing else of it. An
 * index is that of nvidia-smi, which counts by the place on the PCI bus (CUDA_DEVICE_ORDER=PCI_BUS_ID).
 */
export async function listGpus(visible: string | undefined): Promise<Gpu[]> {
  const [table, listing] = await Promise.all([
    askNvidiaSmi([`--query-gpu=${FIELDS.join(',')}`, '--format=csv,noheader,nounits']),
    askNvidiaSmi(['-L']),
  ]);
  const cards = parseCards(table ?? '');
  const instances = parseInstances(listing ?? '', cards);
  const devices = cards.flatMap((card) => {
    const parts = instances.filter((instance) => instance.card === card.uuid);
    return parts.length ? parts : [card];
  });
  const chosen = visible === undefined ? devices : visibleOf(devices, cards, visible);
  return chosen.map(({ card: _, ...gpu }) => gpu);
}

function visibleOf(devices: readonly Device[], cards: readonly Device[], visible: string): Device[] {
  const entries = visible.split(',').map((entry) => entry.trim());
  const listed = devices.filter((device) => entries.some((entry) => names(entry, device)));
  const byPath = entries
    .filter((entry) => !devices.some((device) => names(entry, device)))
    .flatMap((entry) => instanceByPath(entry, cards) ?? []);
  return [...listed, ...byPath];
}
