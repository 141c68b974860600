/** What can be told of a run that waits, by its place and by how the line stood at one moment. Pure. */
import type { Requires, RunRecord, WaitsFor } from '#libs/contracts';
import { othersAhead, quotaReached, startsIn, type Share } from './fair-share.js';
import type { Busy, Forecast } from './forecast.js';
import { capacity, total, type Line, type Machine } from './waiting-line.js';

/** Where a run stands among those of its project; where it is in Redis, among all that are there. */
export interface Place {
  runId: string;
  project: string;
  admitted: boolean;
  ahead: number;
}

export type Told = Pick<RunRecord, 'jobsAhead' | 'predictedStartAt' | 'waitsFor'>;

/** Machines that have what a run asks for, and in how many seconds each slot is free that it could use, ascending. */
interface Able {
  machines: Machine[];
  slots: number[];
}

/** The line at one moment; what many runs have in common is made out once. */
export class Outlook {
  private readonly shares: ReadonlyMap<string, Share>;
  private readonly inRedis: number;
  private readonly waiting = new Map<string, number>();
  private readonly able = new Map<string, Able>();
  private readonly places = new Map<string, number[]>();

  constructor(
    private readonly line: Line,
    private readonly forecast: Forecast,
  ) {
    this.shares = new Map(line.shares.map((share) => [share.name, share]));
    this.inRedis = total(line.shares.map(({ admitted }) => admitted));
    for (const { project, waiting } of line.lanes)
      this.waiting.set(project, (this.waiting.get(project) ?? 0) + waiting);
  }

  /** What is told of one that waits in this place. */
  told({ requires, nextStartAt }: RunRecord, place: Place): Told {
    const { project, admitted, ahead } = place;
    const share = this.shares.get(project)!;
    const others = (name: string) => this.waiting.get(name) ?? 0;
    const jobsAhead = admitted ? ahead : this.inRedis + ahead + othersAhead(this.line.shares, project, ahead, others);
    const able = this.ableTo(requires);
    const waitsFor = reasonToWait(place, share, this.line, { nextStartAt, placeable: able.machines.length > 0 });
    const seconds = Math.max(startsIn(jobsAhead, this.each, able.slots), this.ownPlaceIn(place, share));
    const at = Math.max(this.line.now + seconds * 1000, nextStartAt?.getTime() ?? 0);
    const never = waitsFor === 'gpu_seconds' || waitsFor === 'placement' || !Number.isFinite(at);
    return { jobsAhead, waitsFor, predictedStartAt: never ? null : new Date(at) };
  }

  private get each(): number {
    return this.forecast.each ?? Number.POSITIVE_INFINITY;
  }

  /** How many seconds a run of the forecast may still take. */
  private rest({ seconds }: Busy): number {
    return Math.max(0, seconds - (this.line.now - this.forecast.readAt) / 1000);
  }

  private ableTo(requires: Requires): Able {
    const key = JSON.stringify(requires);
    const known = this.able.get(key);
    if (known) return known;
    const machines = this.line.machines.filter((machine) => capacity(machine, machine.slots, requires) > 0);
    const slots = machines.flatMap((machine) => {
      const held = this.forecast.busy.filter(({ workerId }) => workerId === machine.id).map((run) => this.rest(run));
      return [...held, ...freePlaces(machine.slots - held.length)].slice(0, capacity(machine, machine.slots, requires));
    });
    const able = { machines, slots: slots.sort((a, b) => a - b) };
    this.able.set(key, able);
    return able;
  }

  /** In how many seconds its project may have one more run: its places come free no sooner than its own runs end. */
  private ownPlaceIn({ project, admitted, ahead }: Place, share: Share): number {
    if (share.maxRunning === null) return 0;
    const place = admitted ? Math.min(ahead, share.admitted - 1) : ahead + share.admitted;
    return startsIn(place, this.each, this.placesOf(project, share.maxRunning));
  }

  /** In how many seconds each place of a project is free, ascending. */
  private placesOf(project: string, maxRunning: number): number[] {
    const known = this.places.get(project);
    if (known) return known;
    const most = Math.min(maxRunning, total(this.line.machines.map((machine) => machine.slots)));
    const own = this.forecast.busy
      .filter((run) => run.project === project)
      .map((run) => this.rest(run))
      .sort((a, b) => a - b)
      .slice(-most);
    const places = most === 0 ? [] : [...freePlaces(most - own.length), ...own];
    this.places.set(project, places);
    return places;
  }
}

const freePlaces = (count: number): number[] => Array.from({ length: Math.max(0, count) }, () => 0);

function reasonToWait(
  { admitted }: Place,
  share: Share,
  line: Line,
  { nextStartAt, placeable }: { nextStartAt: Date | null; placeable: boolean },
): WaitsFor {
  if (nextStartAt !== null && nextStartAt.getTime() > line.now) return 'backoff';
  // One that is in Redis is asked once more when it is claimed, for its place only.
  const quota = quotaReached(admitted ? { ...share, admitted: 0, gpuSeconds: null } : share);
  return quota ?? (!placeable && line.machines.length > 0 ? 'placement' : 'slot');
}
