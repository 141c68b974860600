// Preloaded (`--import`) into a process whose event loop is to be watched. Whoever connects to TEST_LOOP_PORT is told,
// as JSON, the longest that the loop was held since the last who asked: `worked`, milliseconds of processor time, which
// other processes on the machine do not lengthen, and `lasted`, by the clock.
import { createServer } from 'node:net';
import { isMainThread } from 'node:worker_threads';

const port = Number(process.env.TEST_LOOP_PORT);
if (isMainThread && port) {
  // Its children are not watched.
  delete process.env.TEST_LOOP_PORT;
  const now = () => {
    const { user, system } = process.threadCpuUsage();
    return { worked: (user + system) / 1000, lasted: performance.now() };
  };
  let longest = { worked: 0, lasted: 0 };
  let last = now();
  const look = () => {
    const at = now();
    for (const clock of ['worked', 'lasted']) longest[clock] = Math.max(longest[clock], at[clock] - last[clock]);
    last = at;
  };
  setInterval(look, 1).unref();
  createServer((socket) => {
    look();
    socket.on('error', () => {}).end(JSON.stringify(longest));
    longest = { worked: 0, lasted: 0 };
  })
    .listen(port, '127.0.0.1')
    .unref();
}
