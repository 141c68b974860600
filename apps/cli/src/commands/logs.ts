/** Log lines of a run. */
import type { LogLine } from '#libs/contracts';
import type { Command } from 'commander';
import { FOLLOW_RETRIES } from '../follow.js';
import { interrupted } from '../interrupt.js';
import { client, say, settings } from '../program.js';
import { runId } from '../references.js';

export function addLogs(program: Command): void {
  program
    .command('logs <id>')
    .description('log lines of a run')
    .option('-f, --follow', 'also those that are still to come')
    .action(async (run: string, { follow: goesOn }: { follow?: boolean }) => {
      const api = await client();
      const id = await runId(api, run);
      const line = (each: LogLine) =>
        say(settings().json ? JSON.stringify(each) : `${each.at} ${each.level} ${each.message}`);
      if (goesOn)
        return void (await api.follow(
          id,
          { onLog: line, onLost: (error) => process.stderr.write(`loom: ${error.message}: trying again\n`) },
          { signal: interrupted.signal, retries: FOLLOW_RETRIES },
        ));
      for (let cursor: string | undefined; ;) {
        const page = await api.logs(id, { limit: 500, ...(cursor && { cursor }) });
        page.items.forEach(line);
        if (!page.nextCursor) return;
        cursor = page.nextCursor;
      }
    });
}
