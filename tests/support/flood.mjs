// Preloaded (`--import`) into trainers: with each progress that a trainer tells, it tells many metrics of no use.
if (process.argv[1]?.endsWith('trainer.js')) {
  const perStep = Number(process.env.TEST_FLOOD);
  const send = process.send.bind(process);
  process.send = (message, ...rest) => {
    if (message.type === 'progress') send({ type: 'metrics', points: Array.from({ length: perStep }, (_, i) => ({ key: `flood/${i}`, step: message.step, value: i })) });
    return send(message, ...rest);
  };
}
