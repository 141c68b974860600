/** The trainer, saying that it sees a GPU: for workers whose GPUs are made up. */
const send = process.send.bind(process);
process.send = (message, ...rest) => send(message.type === 'ready' ? { ...message, device: 'gpu' } : message, ...rest);
await import('../../dist/apps/worker/src/trainer.js');
