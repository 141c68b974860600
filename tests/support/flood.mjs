// Preloaded (`--import`) into trainers: with each progress that the run of this seed tells, it tells many metrics of no
// use.
if (process.argv[1]?.endsWith('trainer.js')) {
  const perStep = Number(process.env.TEST_FLOOD);
  const send = process.send.bind(process);
  let floods = false;
  process.on('message', ({ type, spec }) => {
    if (type === 'start') floods = String(spec.seed) === process.env.TEST_FLOOD_SEED;
  });
  process.send = (message, ...rest) => {
    if (floods && message.type === 'progress')
      send({
        type: 'metrics',
        points: Array.from({ length: perStep }, (_, i) => ({ key: `flood/${i}`, step: message.step, value: i })),
      });
    return send(message, ...rest);
  };
}
