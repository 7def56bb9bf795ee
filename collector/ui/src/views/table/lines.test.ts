import { expect, it } from 'vitest';
import { Lines } from './lines';

it('every line is a row or a source of an open row, and is found again', () => {
  const lines = new Lines(
    6,
    new Map([
      [4, 1],
      [1, 2],
      [99, 3],
    ]),
  );
  expect(lines.length).toBe(9);
  const all = Array.from({ length: 9 }, (_, i) => lines.at(i));
  expect(all.map(({ row, source }) => (source === null ? `${row}` : `${row}.${source}`))).toEqual(
    '0 1 1.0 1.1 2 3 4 4.0 5'.split(' '),
  );
  expect(all.map((line) => lines.of(line))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

it('lines are rows while nothing is open', () => {
  const lines = new Lines(10_000_000, new Map());
  expect([lines.length, lines.at(9_999_999), lines.of({ row: 5, source: null })]).toEqual([
    10_000_000,
    { row: 9_999_999, source: null },
    5,
  ]);
});
