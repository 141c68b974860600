import { randomUUIDv7 } from 'node:crypto';

/**
 * UUIDv7s in ascending order, because runs of one submission start in that of their ids: the first random bits are a
 * counter within the millisecond, which goes on to the next when it is full (RFC 9562, section 6.2, methods 1 and 4).
 */
export function* ascendingIds(): Generator<string, never> {
  let [millisecond, counter] = [0, 0];
  for (;;) {
    counter = (counter + 1) % 4096;
    if (counter === 0) millisecond++;
    if (Date.now() > millisecond) [millisecond, counter] = [Date.now(), 0];
    const time = millisecond.toString(16).padStart(12, '0');
    const count = counter.toString(16).padStart(3, '0');
    yield `${time.slice(0, 8)}-${time.slice(8)}-7${count}-${randomUUIDv7().slice(19)}`;
  }
}
