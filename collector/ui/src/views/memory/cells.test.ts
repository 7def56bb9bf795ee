// Cells, columns of pixels and what is below the pointer.
import { describe, expect, it } from 'vitest';
import type { Region } from '../../lib/types';
import { Axis, whole } from './axis';
import { bands, cellAt, cells, covered, Placed } from './cells';
import { columnBytes, columns, runs } from './columns';
import { gap, hit } from './describe';

function region(name: string, start: number, bytes: number, accesses: number, layer: number | null = null): Region {
  const read = { accesses, read_bytes: accesses * bytes, last_eval: 0, last_token: accesses };
  return { memory: 'BUFFER', place: 'CPU', start, bytes, name, layer, expert: null, ...read };
}
const of = (regions: Region[]) => {
  const axis = Axis.of('BUFFER', [], regions);
  return { axis, placed: new Placed(axis, 'BUFFER', regions) };
};
const list = (c: ReturnType<typeof cells>, names: Region[]) =>
  Array.from({ length: c.length }, (_, i) => [c.from[i], c.to[i], c.value[i], c.count[i], names[c.top[i]].name]);

describe('cells', () => {
  it('count the reads of all tensors that take turns on the same bytes, and name the hottest', () => {
    const { placed } = of([
      region('a', 0, 100, 5),
      region('b', 0, 40, 7),
      region('c', 20, 40, 1),
      region('d', 200, 8, 2),
    ]);
    expect(list(cells(placed, 'accesses', null), placed.items)).toEqual([
      [0, 20, 12, 2, 'b'],
      [20, 40, 13, 3, 'b'],
      [40, 60, 6, 2, 'a'],
      [60, 100, 5, 1, 'a'],
      [200, 208, 2, 1, 'd'],
    ]);
    expect(covered(cells(placed, 'accesses', null))).toBe(108);
  });

  it('are as late as the latest of their regions', () => {
    const { placed } = of([region('a', 0, 10, 5), region('b', 0, 10, 7)]);
    expect(list(cells(placed, 'last', null), placed.items)).toEqual([[0, 10, 7, 2, 'b']]);
  });

  it('show what the selected layer has there first, and know what it does not have', () => {
    const { placed } = of([region('a', 0, 10, 50, 1), region('b', 0, 10, 7, 2), region('c', 10, 10, 9, 1)]);
    const made = cells(placed, 'accesses', 2);
    expect(list(made, placed.items)).toEqual([
      [0, 10, 57, 2, 'b'],
      [10, 20, 9, 1, 'c'],
    ]);
    expect([...made.lit.subarray(0, 2)]).toEqual([1, 0]);
    expect([...made.layer.subarray(0, 2)]).toEqual([-2, 1]);
  });

  it('agree with counting byte by byte', () => {
    let seed = 7;
    const random = (n: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
    const regions = Array.from({ length: 60 }, (_, i) => region(`t${i}`, random(300), 1 + random(60), 1 + random(9)));
    const { axis, placed } = of(regions);
    const made = cells(placed, 'accesses', null);
    for (let byte = 0; byte < axis.total; byte++) {
      const here = regions.filter((r) => {
        const from = axis.position('CPU', r.start)!;
        return from <= byte && byte < from + r.bytes;
      });
      const cell = cellAt(made, byte);
      const found = cell < made.length && made.from[cell] <= byte ? made.value[cell] : 0;
      expect(found).toBe(here.reduce((n, r) => n + r.accesses, 0));
      expect(placed.within(byte, byte + 1).length).toBe(here.length);
    }
  });

  it('join into bands of layers', () => {
    const { placed } = of([
      region('a', 0, 10, 1, 0),
      region('b', 10, 10, 1, 0),
      region('x', 20, 5, 1),
      region('c', 25, 5, 1, 1),
    ]);
    expect(bands(cells(placed, 'accesses', null))).toEqual([
      { from: 0, to: 20, layer: 0 },
      { from: 25, to: 30, layer: 1 },
    ]);
  });

  it('are made of 20,000 regions that overlap', () => {
    const regions = Array.from({ length: 20_000 }, (_, i) => region(`t${i}`, (i % 40) * 1000, 1 + i, 1 + (i % 9)));
    const made = cells(of(regions).placed, 'accesses', null);
    expect(made.length).toBeGreaterThan(19_000);
  });
});

describe('columns of pixels', () => {
  it('never lose a small hot tensor beside great ones', () => {
    const { axis, placed } = of([
      region('a', 0, 1_005_000, 1),
      region('hot', 1_005_000, 10, 9),
      region('b', 1_005_010, 1e6, 1),
    ]);
    const made = cells(placed, 'accesses', null);
    const drawn = columns(made, whole(axis.total), 100);
    expect(drawn.filter((cell) => cell === 1).length).toBe(1);
    expect([drawn[0], drawn[99]]).toEqual([0, 2]);
    const found: [number, number, number][] = [];
    runs(drawn, (...run) => found.push(run));
    expect(found).toEqual([
      [0, 0, 50],
      [1, 50, 51],
      [2, 51, 100],
    ]);
  });

  it('leave empty what nobody read', () => {
    const { placed } = of([region('a', 0, 10, 1), region('b', 90, 10, 1)]);
    const drawn = columns(cells(placed, 'accesses', null), { from: 0, bytes: 100 }, 10);
    expect([...drawn]).toEqual([0, -1, -1, -1, -1, -1, -1, -1, -1, 1]);
  });

  it('stand for the bytes that are drawn in them, down to one', () => {
    expect(columnBytes({ from: 100, bytes: 1000 }, 10, 3.7)).toEqual([400, 500]);
    expect(columnBytes({ from: 100, bytes: 16 }, 160, 25)).toEqual([102, 103]);
  });
});

describe('what is below the pointer', () => {
  const regions = [region('a', 0, 10, 1), region('b', 10, 1, 9, 3), region('c', 40, 10, 2)];

  it('is every region of the pixel, the hottest first', () => {
    const { placed } = of(regions);
    const names = hit(placed, 5, 45, 'accesses', null).regions.map((i) => placed.items[i].name);
    expect(names).toEqual(['b', 'c', 'a']);
  });

  it('or the bytes around that were never read', () => {
    const { axis, placed } = of(regions);
    expect(gap(placed, axis, 20, [])).toEqual({ place: 'CPU', from: 11, to: 40, tensor: undefined });
  });
});
