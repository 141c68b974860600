import { describe, expect, test } from 'vitest';
import { canMove, RunStatus, TERMINAL_STATUSES } from './run-status.js';

describe('statuses', () => {
  test('that end a run lead nowhere but to another try', () => {
    for (const status of TERMINAL_STATUSES)
      for (const to of RunStatus.options) if (canMove(status, to)) expect(['queued', 'pending']).toContain(to);
    expect(RunStatus.options.some((to) => canMove('succeeded', to))).toBe(false);
    expect(canMove('cancelling', 'succeeded')).toBe(false);
    expect(RunStatus.options.filter((from) => canMove(from, 'timed_out'))).toEqual(['running', 'pausing']);
    expect(canMove('cancelled', 'running')).toBe(false);
  });
});
