// Preloaded (`--import`) into trainers: what a run of a given seed does to its process. Other processes are left alone.
if (process.argv[1]?.endsWith('trainer.js')) {
  const { TEST_POISON: poison, TEST_HUNGRY: hungry } = process.env;
  process.on('message', (command) => {
    if (command.type !== 'start') return;
    if (String(command.spec.seed) === poison)
      process.stderr.write('poisoned: this run brings its process down\n', () => process.abort());
    if (String(command.spec.seed) === hungry)
      for (const hoard = []; ;) hoard.push(Array.from({ length: 1e5 }, (_, each) => ({ each })));
  });
}
