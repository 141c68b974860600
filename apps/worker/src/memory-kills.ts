/**
 * Whether the kernel has killed a process for want of memory. The machine's count of such kills says nothing of it: any
 * process of anybody may have been the one.
 */
import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';

/** Where the control group of memory is mounted that these lines of /proc/self/cgroup name: of version 2, else of 1. */
function countersOf(groups: string): string[] {
  const [, unified] = /^0::(.*)$/m.exec(groups) ?? [];
  const [, memory] = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(groups) ?? [];
  // A container that sees only its own part has that at the root.
  return [
    ...(memory === undefined ? [] : [memory, ''].map((group) => `/sys/fs/cgroup/memory${group}/memory.oom_control`)),
    ...(unified === undefined ? [] : [unified, ''].map((group) => `/sys/fs/cgroup${group}/memory.events`)),
  ];
}

/** How many processes of this worker's control group were killed so; undefined where there is no such count. */
async function killsInGroup(): Promise<number | undefined> {
  const groups = await readFile('/proc/self/cgroup', 'utf8').catch(() => '');
  for (const file of countersOf(groups)) {
    const [, count] = /^oom_kill (\d+)$/m.exec(await readFile(file, 'utf8').catch(() => '')) ?? [];
    if (count !== undefined) return Number(count);
  }
  return undefined;
}

/** Whether the kernel's log, where this process may read it, says so of a process that began at this time. */
async function isInKernelLog(pid: number, sinceMs: number): Promise<boolean> {
  const log = await open('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
  if (!log) return false;
  const record = Buffer.alloc(8192);
  try {
    // Each read gives one record, `priority,sequence,microseconds,…;text`, and the last fails with EAGAIN.
    for (;;) {
      const { bytesRead } = await log.read(record, 0, record.length);
      if (bytesRead === 0) return false;
      const [head = '', text = ''] = record.toString('utf8', 0, bytesRead).split(';', 2);
      const atMs = Number(head.split(',')[2]) / 1000;
      if (atMs >= sinceMs && new RegExp(`Killed process ${pid}\\b`).test(text)) return true;
    }
  } catch {
    return false;
  } finally {
    await log.close();
  }
}

/** Kills of this worker's trainers for want of memory. Each that its group has counted is held against one of them. */
export class MemoryKills {
  private accounted: number | undefined;

  /** From here on kills count. */
  async begin(): Promise<void> {
    this.accounted ??= await killsInGroup();
  }

  /** Whether this trainer, which was killed, was killed for memory. `bornAtMs`: by the monotonic clock. */
  async includes(pid: number, bornAtMs: number): Promise<boolean> {
    const found = await killsInGroup();
    const counted = found !== undefined && this.accounted !== undefined && found > this.accounted;
    if (counted) this.accounted!++;
    return counted || isInKernelLog(pid, bornAtMs);
  }
}
