// Preloaded (`--import`) into a process whose clock is to be wrong: shifts what JavaScript sees as the time of day.
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
