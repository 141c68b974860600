/** What can be told of a run that waits, by its place and by how the line stood at one moment. Pure. */
import type { Requires, RunRecord, WaitsFor } from '#libs/contracts';
import { othersAhead, quotaReached, Starts, type Share } from './fair-share.js';
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

/** Machines that have what a run asks for, and when runs start on those slots of them that it could use. */
interface Able {
  machines: Machine[];
  starts: Starts;
}

/** What can be told of waiting runs, by the line and the forecast of one moment. */
export class Outlook {
  private readonly shares: ReadonlyMap<string, Share>;
  private readonly inRedis: number;
  private readonly waiting = new Map<string, number>();
  private readonly busyOn: ReadonlyMap<string, readonly Busy[]>;
  private readonly able = new Map<string, Able>();
  private readonly ownStarts = new Map<string, Starts>();

  constructor(
    readonly line: Line,
    readonly forecast: Forecast,
  ) {
    this.busyOn = Map.groupBy(forecast.busy, ({ workerId }) => workerId);
    this.shares = new Map(line.shares.map((share) => [share.name, share]));
    this.inRedis = total(line.shares.map(({ admitted }) => admitted));
    for (const { project, waiting } of line.lanes)
      this.waiting.set(project, (this.waiting.get(project) ?? 0) + waiting);
  }

  /** What is told of a run that waits at a place of the line. */
  told({ requires, nextStartAt }: RunRecord, place: Place): Told {
    const { project, admitted, ahead } = place;
    const share = this.shares.get(project)!;
    const others = (name: string) => this.waiting.get(name) ?? 0;
    const jobsAhead = admitted ? ahead : this.inRedis + ahead + othersAhead(this.line.shares, project, ahead, others);
    const able = this.ableTo(requires);
    const waitsFor = reasonToWait(place, share, this.line, { nextStartAt, placeable: able.machines.length > 0 });
    const seconds = Math.max(able.starts.in(jobsAhead), this.ownPlaceIn(place, share));
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
      const held = (this.busyOn.get(machine.id) ?? []).map((run) => this.rest(run));
      return [...held, ...freePlaces(machine.slots - held.length)].slice(0, capacity(machine, machine.slots, requires));
    });
    const able = { machines, starts: new Starts(this.each, slots) };
    this.able.set(key, able);
    return able;
  }

  /** In how many seconds its project may have one more run: its places come free no sooner than its own runs end. */
  private ownPlaceIn({ project, admitted, ahead }: Place, share: Share): number {
    if (share.maxRunning === null) return 0;
    const place = admitted ? Math.min(ahead, share.admitted - 1) : ahead + share.admitted;
    return this.startsOf(project, share.maxRunning).in(place);
  }

  /** When runs of a project start, by its own bound on runs under way alone. */
  private startsOf(project: string, maxRunning: number): Starts {
    const known = this.ownStarts.get(project);
    if (known) return known;
    const most = Math.min(maxRunning, total(this.line.machines.map((machine) => machine.slots)));
    const own = this.forecast.busy
      .filter((run) => run.project === project)
      .map((run) => this.rest(run))
      .sort((a, b) => a - b)
      .slice(-most);
    const starts = new Starts(this.each, most === 0 ? [] : [...own, ...freePlaces(most - own.length)]);
    this.ownStarts.set(project, starts);
    return starts;
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
  // Of a run that is in Redis only the bound on runs under way is checked once more, when it is claimed.
  const quota = quotaReached(admitted ? { ...share, admitted: 0, gpuSeconds: null } : share);
  return quota ?? (!placeable && line.machines.length > 0 ? 'placement' : 'slot');
}
