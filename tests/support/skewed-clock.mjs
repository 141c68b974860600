// Preloaded (`--import`) into a process whose clock is to be wrong: shifts what JavaScript sees as the time of day, and
// the time that is in its UUIDs, which Node takes from its own clock.
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

const shiftMs = Number(process.env.TEST_CLOCK_SHIFT_MS);
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [RealDate.now() + shiftMs]));
  }
  static now() {
    return RealDate.now() + shiftMs;
  }
};
const { randomUUIDv7 } = crypto;
crypto.randomUUIDv7 = (options) => {
  const [high, low, ...rest] = randomUUIDv7(options).split('-');
  const time = (Number.parseInt(high + low, 16) + shiftMs).toString(16).padStart(12, '0');
  return [time.slice(0, 8), time.slice(8), ...rest].join('-');
};
syncBuiltinESMExports();
