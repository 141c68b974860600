#!/usr/bin/env node
/** `loom`: its commands, in the order of its help. */
import { ApiError, printableJson } from '#libs/contracts';
import { CommanderError, type Command } from 'commander';
import { addArtifacts, addExport, addCollect } from './commands/artifacts.js';
import { addWhy, addCompare } from './commands/compare.js';
import { addCompletion } from './commands/completion.js';
import { addDatasets } from './commands/datasets.js';
import { addModels } from './commands/models.js';
import { addDemo } from './commands/demo.js';
import { addInit } from './commands/init.js';
import { addLogs } from './commands/logs.js';
import { addProjects } from './commands/projects.js';
import { addReports } from './commands/reports.js';
import { addReproduce } from './commands/reproduce.js';
import { addChange, addDelete, addRunActions, addTag } from './commands/run-actions.js';
import { addGroups, addRuns, addRun } from './commands/runs.js';
import { addStatus } from './commands/status.js';
import { addSubmit, addPlan } from './commands/submit.js';
import { addSweep, addSweeps, addTrials } from './commands/sweeps.js';
import { addUp, addDown } from './commands/up.js';
import { addViews } from './commands/views.js';
import { addWatch } from './commands/watch.js';
import { addWorkers, addDrain } from './commands/workers.js';
import { addExamples } from './examples.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
import { interrupted, interruption, tooLong } from './interrupt.js';
import { flushed, program, settings } from './program.js';

export { program };

const GROUPS: Record<string, ((program: Command) => void)[]> = {
  'This machine:': [addUp, addDown],
  'Runs and sweeps:': [
    addStatus,
    addSubmit,
    addPlan,
    addWhy,
    addRuns,
    addGroups,
    addViews,
    addReports,
    addRun,
    addWatch,
    addLogs,
    addCompare,
    addReproduce,
    addSweep,
    addSweeps,
    addTrials,
    addRunActions,
    addTag,
    addChange,
    addDelete,
    addArtifacts,
    addExport,
  ],
  'Datasets, models and workers:': [addDatasets, addModels, addWorkers, addProjects, addDrain, addCollect],
  'To begin with:': [addDemo, addInit, addCompletion],
};
for (const [group, commands] of Object.entries(GROUPS)) {
  program.commandsGroup(group);
  for (const add of commands) add(program);
}
addExamples(program);

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function errorJson(error: unknown): string {
  const problem = error instanceof ApiError && { problem: error.problem };
  return printableJson(
    JSON.stringify({ error: { exitCode: exitCodeOf(error), message: messageOf(error), ...problem } }),
  );
}

if (import.meta.main) {
  try {
    let begun = (_: Command): void => undefined;
    const running = new Promise<Command>((resolve) => {
      begun = resolve;
    });
    program.hook('preAction', (_, action) => begun(action));
    await Promise.race([program.parseAsync(), running.then(tooLong)]);
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    else if (interrupted.signal.aborted) process.exitCode = EXIT.interrupted;
    else {
      process.exitCode = exitCodeOf(error);
      process.stderr.write(`${settings().json ? errorJson(error) : `loom: ${messageOf(error)}`}\n`);
    }
  }
  // Ctrl-C does not wait for a reader that has stopped reading.
  await Promise.race([flushed(), interruption()]).catch(() => {
    process.exitCode = EXIT.interrupted;
  });
  process.exit();
}
