/**
 * Processes that a process has left behind, also where they made a session of their own (setsid) and became children of
 * another: found in procfs by the user that they run as, or else by a mark in the environment that they inherited.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { identityOf, isStill } from './process-identity.js';
import { Turns } from './turns.js';

/** Under which variable a process and all that it starts have their mark. */
const MARK = 'LOOM_TRAINER_MARK';
/** Each round finds what the round before has overlooked, because it was being started. */
const MOST_ROUNDS = 50;

const namespace = (): string => {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
};

/** A mark that names this process, and tells what one of its children leaves from what others do. */
export const newMark = (id: string): { [MARK]: string } => ({
  [MARK]: [namespace(), process.pid, identityOf(process.pid), id].join(' '),
});

/** Which processes: all of a user that nobody else is, or those that have a mark. `but`: ids of those that are left. */
export interface Remains {
  uid?: number | undefined;
  mark?: string | undefined;
  but?: ReadonlySet<number>;
}

/** Ends them all, and what they start meanwhile. Where there is no procfs nothing is found. */
export async function endRemains({ uid, mark, but = new Set() }: Remains): Promise<void> {
  const matches = (pid: number) =>
    uid === undefined ? markOf(pid) === mark && mark !== undefined : ownerOf(pid) === uid;
  await endAll((pid) => !but.has(pid) && matches(pid));
}

/** Ends what is left of processes that had marks of a process which is gone by now, killed before it could do so. */
export async function endOrphans(): Promise<void> {
  const here = namespace();
  await endAll((pid) => {
    const [space, parent, identity = ''] = markOf(pid)?.split(' ') ?? [];
    // Ids of another namespace say nothing here.
    return space !== undefined && space === here && space !== '' && isStill(Number(parent), identity) === false;
  });
}

async function endAll(matches: (pid: number) => boolean): Promise<void> {
  const turns = new Turns();
  for (let round = 0, found = true; found && round < MOST_ROUNDS; round++) {
    found = false;
    for (const pid of processes()) {
      if (turns.over) await turns.next();
      if (pid === process.pid || !matches(pid)) continue;
      // The id may have been given to another since.
      const identity = identityOf(pid);
      if (!matches(pid) || !isStill(pid, identity)) continue;
      found = true;
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        /* It is gone. */
      }
    }
  }
}

const processes = (): number[] => {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
};

function read(pid: number, name: 'status' | 'environ'): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

/** Whom a process runs as; undefined for one that is dead, and waits for its parent to take note. */
function ownerOf(pid: number): number | undefined {
  const status = read(pid, 'status');
  if (/^State:\s+[ZX]/m.test(status)) return undefined;
  const [, uid] = /^Uid:\s+(\d+)/m.exec(status) ?? [];
  return uid === undefined ? undefined : Number(uid);
}

/** A process that is dead has no environment. */
function markOf(pid: number): string | undefined {
  const variable = read(pid, 'environ')
    .split('\0')
    .find((each) => each.startsWith(`${MARK}=`));
  return variable?.slice(MARK.length + 1);
}
