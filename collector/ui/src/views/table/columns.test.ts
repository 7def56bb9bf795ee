import { expect, it } from 'vitest';
import { ariaSort, COLUMNS, nextSort } from './columns';

it('a header goes through three orders: the longest come first, names from A', () => {
  const round = (column: string) => {
    const first = nextSort(column, '-op');
    const second = nextSort(column, first);
    return [first, second, nextSort(column, second)];
  };
  expect(round('duration')).toEqual(['-duration', 'duration', null]);
  expect(round('name')).toEqual(['name', '-name', null]);
});

it('a header says which way its column goes, if it can be an order at all', () => {
  const said = (id: string, sort: string | null) =>
    ariaSort(
      COLUMNS.find((c) => c.id === id)!,
      sort,
    );
  expect([said('op', null), said('op', 'op'), said('op', '-op'), said('read', null)]).toEqual([
    'none',
    'ascending',
    'descending',
    undefined,
  ]);
});
