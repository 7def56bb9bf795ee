// Pages read and pages in memory.
import { describe, expect, it } from 'vitest';
import { pagesOf, READ, RESIDENT, stateColumns, states, totals } from './residency';

describe('pages in memory', () => {
  it('are read if one of their bytes was', () => {
    expect(
      pagesOf(
        [
          [10, 20],
          [4095, 4097],
          [20000, 20001],
        ],
        4096,
        20100,
      ),
    ).toEqual([
      [0, 8192],
      [16384, 20100],
    ]);
  });

  it('tell wasted prefetch from cold weights', () => {
    const found = states(
      [
        [0, 40],
        [60, 100],
      ],
      [[20, 80]],
    );
    expect(found).toEqual([
      { from: 0, to: 20, state: READ },
      { from: 20, to: 40, state: READ | RESIDENT },
      { from: 40, to: 60, state: RESIDENT },
      { from: 60, to: 80, state: READ | RESIDENT },
      { from: 80, to: 100, state: READ },
    ]);
    expect(totals(found, 120)).toEqual({ size: 120, resident: 60, wasted: 20, cold: 40, both: 40 });
  });

  it('join where a page is read and resident in pieces', () => {
    expect(
      states(
        [[0, 100]],
        [
          [0, 50],
          [50, 100],
        ],
      ),
    ).toEqual([{ from: 0, to: 100, state: READ | RESIDENT }]);
  });

  it('show each state that a column of pixels has', () => {
    const found = states([[0, 50]], [[49, 100]]);
    expect([...stateColumns(found, 0, 100, 4)]).toEqual([1 << READ, (1 << READ) | 8, 1 << RESIDENT, 1 << RESIDENT]);
    expect([...stateColumns(found, 60, 20, 2)]).toEqual([1 << RESIDENT, 1 << RESIDENT]);
  });
});
