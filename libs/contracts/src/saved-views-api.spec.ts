import { expect, test } from 'vitest';
import { faultsOf } from './faults.js';
import { SavedQuery } from './saved-views-api.js';

test('a saved view has the parameters of the list, and what the dashboard shows of it', () => {
  const query = {
    status: 'running,failed',
    where: 'eval/knn>0.5,spec:method=simclr',
    sort: '-metric:eval/knn',
    columns: 'status,metric:eval/knn',
    group: 'spec:method',
  };
  expect(SavedQuery.parse(query)).toEqual(query);
  expect(SavedQuery.parse({})).toEqual({});
});

test.each([
  [{ status: 'nowhere' }, 'status'],
  [{ where: 'eval/knn' }, 'where'],
  [{ sort: 'beauty' }, 'sort'],
  [{ group: 'beauty' }, 'group'],
  [{ sweep: 'mine' }, 'sweep'],
  [{ name: '' }, 'name'],
  [{ limit: '3' }, 'limit'],
])('%j is refused at %s', (query, field) => {
  const { error } = SavedQuery.safeParse(query, { reportInput: true });
  expect(error!.issues.flatMap(faultsOf).map(({ path }) => path[0])).toContain(field);
});
