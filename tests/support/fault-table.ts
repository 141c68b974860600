import type { Reporter, TestModule } from 'vitest/node';

/**
 * Prints the fault table of docs/reliability.md row by row: each number with its tests, how they ended and how long
 * they took.
 */
export default class FaultTable implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const rows = modules
      .flatMap((module) => [...module.children.allTests()])
      .flatMap((test) => {
        const name = test.fullName;
        return [...name.matchAll(/#(\d+)/g)].map(([, number]) => ({
          number: Number(number),
          state: test.result().state,
          ms: test.diagnostic()?.duration ?? 0,
          measured: test.annotations().map(({ message }) => message),
          name: name.replace(/^#\d+ /, ''),
        }));
      })
      .sort((a, b) => a.number - b.number);
    const line = ({ number, state, ms, name, measured }: (typeof rows)[number]) =>
      [
        `${String(number).padStart(3)}  ${state.padEnd(8)} ${(ms / 1000).toFixed(1).padStart(6)} s  ${name}`,
        ...measured.map((each) => `${' '.repeat(24)}${each}`),
      ].join('\n');
    process.once('exit', () =>
      process.stdout.write(
        '\n row  result       time  ' +
          `fault\n${rows.map(line).join('\n')}\n${new Set(rows.map(({ number }) => number)).size} rows\n`,
      ),
    );
  }
}
