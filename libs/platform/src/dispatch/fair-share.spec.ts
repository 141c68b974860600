import { describe, expect, test } from 'vitest';
import { chooseNext, othersAhead, quotaReached, Starts, type Share, type Waiting } from './fair-share.js';

const share = (name: string, more: Partial<Share> = {}): Share => ({
  name,
  weight: 1,
  maxRunning: null,
  gpuSeconds: null,
  running: 0,
  admitted: 0,
  usedSeconds: 0,
  tag: 0,
  ...more,
});
let made = 0;
const run = (project: string, more: Partial<Waiting> = {}): Waiting => ({
  project,
  placement: '',
  urgency: 50,
  submittedAt: 0,
  runId: String(made++).padStart(8, '0'),
  ...more,
});
const many = (project: string, count: number, more: Partial<Waiting> = {}) =>
  Array.from({ length: count }, () => run(project, more));
const anywhere = { placesOf: () => 0 };

/** Pseudo-random numbers below `n` (Park and Miller). */
function dice(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % n;
  };
}

/**
 * A fleet of so many slots whose runs take as long as `duration` says: starts by project, and the most that ran of each
 * at once. Each tick fills what is free and `ahead` more, as the leader does.
 */
function simulate(
  projects: Share[],
  {
    slots,
    ahead = 0,
    ticks,
    arrivals,
    duration,
  }: {
    slots: number;
    ahead?: number;
    ticks: number;
    arrivals: (tick: number) => Waiting[];
    duration: (run: Waiting) => number;
  },
) {
  const state = new Map(projects.map((each) => [each.name, { ...each }]));
  const [waiting, redis, running] = [[] as Waiting[], [] as Waiting[], [] as { run: Waiting; until: number }[]];
  const starts: Waiting[] = [];
  const most = new Map<string, number>();
  for (let tick = 0; tick < ticks; tick++) {
    for (const done of running.filter(({ until }) => until <= tick)) {
      running.splice(running.indexOf(done), 1);
      state.get(done.run.project)!.running--;
    }
    waiting.push(...arrivals(tick));
    for (const next of chooseNext([...state.values()], waiting, {
      places: Math.max(0, slots - running.length + ahead - redis.length),
      ...anywhere,
    })) {
      waiting.splice(
        waiting.findIndex(({ runId }) => runId === next.runId),
        1,
      );
      redis.push(next);
      Object.assign(state.get(next.project)!, { tag: next.tag, admitted: state.get(next.project)!.admitted + 1 });
    }
    while (running.length < slots && redis.length > 0) {
      const taken = redis.shift()!;
      const of = state.get(taken.project)!;
      of.admitted--;
      of.running++;
      most.set(taken.project, Math.max(most.get(taken.project) ?? 0, of.running));
      running.push({ run: taken, until: tick + duration(taken) });
      starts.push(taken);
    }
  }
  return {
    starts,
    most,
    count: (project: string) => starts.filter((each) => each.project === project).length,
    waiting,
  };
}

describe('who is next', () => {
  test('within a project by priority, then by age', () => {
    const [old, young, urgent] = [run('a'), run('a'), run('a', { urgency: 10 })];
    expect(
      chooseNext([share('a')], [young, urgent, old], { places: 3, ...anywhere }).map(({ runId }) => runId),
    ).toEqual([urgent, old, young].map(({ runId }) => runId));
  });

  test('a project with fewer runs by its weight comes first, whoever has waited longer', () => {
    const chosen = chooseNext(
      [share('a', { running: 6, admitted: 1 }), share('b', { running: 1 })],
      [...many('a', 9), ...many('b', 9)],
      { places: 6, ...anywhere },
    );
    expect(chosen.map(({ project }) => project).join('')).toBe('bbbbbb');
    const more = chooseNext(
      [share('a', { running: 6, weight: 3 }), share('b', { running: 2 })],
      [...many('a', 9), ...many('b', 9)],
      { places: 8, ...anywhere },
    );
    expect(more.filter(({ project }) => project === 'a')).toHaveLength(6);
  });

  test('what nobody can take is passed over, and those that ask for the same share its places', () => {
    const waiting = [
      run('a', { placement: 'gpu', urgency: 0 }),
      run('a', { placement: 'gpu', urgency: 0 }),
      run('b', { placement: 'gpu' }),
      run('a'),
      run('a', { placement: 'none', urgency: 0 }),
    ];
    expect(
      chooseNext([share('a'), share('b')], waiting, {
        places: 9,
        placesOf: (placement) => (placement === 'gpu' ? 2 : 0),
      }).map(({ project, placement }) => `${project} ${placement}`),
    ).toEqual(['a gpu', 'b gpu', 'a ']);
  });

  test('a quota is not passed, by what runs and what is admitted', () => {
    expect(
      chooseNext([share('a', { maxRunning: 4, running: 2, admitted: 1 })], many('a', 9), { places: 9, ...anywhere }),
    ).toHaveLength(1);
    expect(
      chooseNext(
        [share('a', { gpuSeconds: 100, usedSeconds: 100 }), share('b', { gpuSeconds: 100, usedSeconds: 99 })],
        [...many('a', 9), ...many('b', 2)],
        { places: 9, ...anywhere },
      ).map(({ project }) => project),
    ).toEqual(['b', 'b']);
    expect([
      quotaReached(share('a', { maxRunning: 0 })),
      quotaReached(share('a', { gpuSeconds: 5, usedSeconds: 5, maxRunning: 1, running: 1 })),
      quotaReached(share('a')),
    ]).toEqual(['max_running', 'gpu_seconds', null]);
  });

  test('ties go to the one that has used less by its weight', () => {
    const first = (usedA: number, usedB: number) =>
      chooseNext([share('a', { usedSeconds: usedA }), share('b', { usedSeconds: usedB })], [run('a'), run('b')], {
        places: 1,
        ...anywhere,
      })[0]!.project;
    expect([first(9, 3), first(3, 9), first(3, 3)]).toEqual(['b', 'a', 'a']);
  });
});

describe('over time', () => {
  const always =
    (...projects: string[]) =>
    (tick: number) =>
      tick === 0 ? projects.flatMap((project) => many(project, 1600)) : [];

  test.each(
    [1, 2, 4, 7].flatMap((slots) =>
      [
        [1, 1],
        [3, 1],
        [5, 2],
        [0.5, 3],
      ].flatMap(([a, b]) => [0, 3].map((ahead) => [slots, a!, b!, ahead] as const)),
    ),
  )('on %d slots starts are as weights %d : %d (%d ahead in Redis)', (slots, a, b, ahead) => {
    const { count } = simulate([share('a', { weight: a }), share('b', { weight: b })], {
      slots,
      ahead,
      ticks: 200,
      arrivals: always('a', 'b'),
      duration: () => 1,
    });
    const fair = (200 * slots * a) / (a + b);
    expect(Math.abs(count('a') - fair)).toBeLessThanOrEqual(slots + ahead + Math.max(a / b, b / a));
  });

  test(
    'a flood of one does not keep another waiting: the first of the second starts with the next slot that is free, ' +
      'then every other start is its own',
    () => {
      const late = many('b', 20);
      const arriving = new Map([
        [0, many('a', 1000)],
        [100, late],
      ]);
      const { starts } = simulate([share('a'), share('b')], {
        slots: 4,
        ticks: 300,
        arrivals: (tick) => arriving.get(tick) ?? [],
        duration: () => 2,
      });
      const from = starts.findIndex(({ project }) => project === 'b');
      expect(starts.slice(0, from).length).toBeLessThanOrEqual(4 * 51);
      expect(starts.slice(from, from + 40).filter(({ project }) => project === 'b')).toHaveLength(20);
    },
  );

  test('idleness earns nothing: who comes back shares from then on', () => {
    const arriving = new Map([
      [0, many('a', 2000)],
      [300, many('b', 300)],
    ]);
    const { starts } = simulate([share('a'), share('b')], {
      slots: 2,
      ticks: 500,
      arrivals: (tick) => arriving.get(tick) ?? [],
      duration: () => 1,
    });
    const from = starts.findIndex(({ project }) => project === 'b');
    expect(starts.slice(from, from + 100).filter(({ project }) => project === 'b').length).toBeLessThanOrEqual(52);
  });

  test('slots are shared by weight where runs of one take much longer', () => {
    const busy = { a: 0, b: 0 };
    simulate([share('a'), share('b')], {
      slots: 8,
      ticks: 300,
      arrivals: always('a', 'b'),
      duration: ({ project }) => {
        busy[project as 'a' | 'b'] += project === 'a' ? 20 : 1;
        return project === 'a' ? 20 : 1;
      },
    });
    expect(busy.a / (busy.a + busy.b)).toBeGreaterThan(0.45);
    expect(busy.a / (busy.a + busy.b)).toBeLessThan(0.6);
  });

  test.each([1, 2, 3, 4, 5, 6])(
    'whatever comes (seed %d): nobody starves, no quota is passed, no slot is idle in vain, each run starts once',
    (seed) => {
      const roll = dice(seed);
      const projects = Array.from({ length: 2 + roll(5) }, (_, i) =>
        share(`p${i}`, { weight: [0.1, 0.5, 1, 3, 10][roll(5)]!, maxRunning: roll(3) === 0 ? 1 + roll(3) : null }),
      );
      const slots = 1 + roll(6);
      const { starts, most, waiting } = simulate(projects, {
        slots,
        ahead: roll(4),
        ticks: 2500,
        duration: () => 1 + roll(4),
        arrivals: (tick) =>
          tick < 200 ? projects.flatMap(({ name }) => many(name, roll(4), { urgency: roll(100) })) : [],
      });
      for (const { name, maxRunning } of projects) expect(most.get(name) ?? 0).toBeLessThanOrEqual(maxRunning ?? slots);
      expect(waiting).toEqual([]);
      expect(new Set(starts.map(({ runId }) => runId)).size).toBe(starts.length);
      // While all want something, each has started something by the time that the weights give it ten runs.
      const lightest = Math.min(...projects.map(({ weight }) => weight));
      const total = projects.reduce((sum, { weight }) => sum + weight, 0);
      const early = starts.slice(0, Math.ceil((10 * total) / lightest));
      for (const { name } of projects) expect(early.some(({ project }) => project === name)).toBe(true);
    },
  );
});

describe('what is told of a run that waits', () => {
  test.each([
    [
      [1, 1],
      [40, 40],
    ],
    [
      [3, 1],
      [40, 40],
    ],
    [
      [1, 4],
      [40, 3],
    ],
    [
      [2, 5],
      [9, 40],
    ],
  ])('weights %j, waiting %j: the runs before it are those that are chosen before it', ([a, b], [n, m]) => {
    const shares = [
      share('a', { weight: a!, tag: 7.25 }),
      share('b', { weight: b!, tag: 7.6 }),
      share('idle', { tag: 2 }),
    ];
    const waiting = [...many('a', n!), ...many('b', m!)];
    const order = chooseNext(
      shares.map((each) => ({ ...each, running: 0 })),
      waiting,
      { places: 100, ...anywhere },
    );
    // By tags alone, as if no project were ahead of another: that is what the forecast goes by.
    const byTag = order.toSorted((x, y) => x.tag - y.tag);
    for (const [place, { project }] of byTag.entries()) {
      const ahead = byTag.slice(0, place).filter((each) => each.project === project).length;
      const told = ahead + othersAhead(shares, project, ahead, (name) => ({ a: n, b: m })[name] ?? 0);
      expect(Math.abs(told - place)).toBeLessThanOrEqual(1);
    }
  });

  test('seconds until a start are those of a list schedule', () => {
    const roll = dice(11);
    for (let trial = 0; trial < 200; trial++) {
      const slots = Array.from({ length: 1 + roll(5) }, () => roll(40) / 4);
      const [ahead, each] = [roll(30), 0.25 + roll(20)];
      const free = [...slots];
      let at = 0;
      for (let i = 0; i <= ahead; i++) {
        free.sort((a, b) => a - b);
        at = free[0]!;
        free[0] = at + each;
      }
      expect(new Starts(each, slots).in(ahead)).toBeCloseTo(at, 4);
    }
    expect(new Starts(1, []).in(3)).toBe(Number.POSITIVE_INFINITY);
    expect(new Starts(1, [Number.POSITIVE_INFINITY]).in(0)).toBe(Number.POSITIVE_INFINITY);
  });
});
