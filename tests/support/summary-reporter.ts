import type { Reporter, TestModule } from 'vitest/node';

/** Ends a run with what failed, what was skipped and why, and one line of counts that programs can read. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const counts = { passed: 0, failed: errors.length, skipped: 0 };
    const lines: string[] = [];
    for (const module of modules) {
      if (module.errors().length > 0) {
        counts.failed++;
        lines.push(`failed: ${module.relativeModuleId}`);
      }
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') counts.passed++;
        else if (state === 'failed') {
          counts.failed++;
          lines.push(`failed: ${module.relativeModuleId} > ${test.fullName}`);
        } else {
          counts.skipped++;
          const { note } = test.result() as { note?: string };
          lines.push(`skipped: ${module.relativeModuleId} > ${test.fullName}${note ? ` (${note})` : ''}`);
        }
      }
    }
    // After what the default reporter still has to say.
    process.once('exit', () =>
      process.stdout.write(
        `${[...lines, `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`].join('\n')}\n`,
      ),
    );
  }
}
