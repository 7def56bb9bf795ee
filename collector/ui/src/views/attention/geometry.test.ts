import { describe, expect, it } from 'vitest';
import { cellAt, geometry, reveal, stride } from './geometry';

const box = { width: 500, height: 400 };

describe('the heatmap', () => {
  it('fits into its box, with cells that are not larger than they need to be', () => {
    const few = geometry(4, 4, box, 1);
    expect(few.cell).toBe(26);
    const many = geometry(1000, 1000, box, 1);
    expect(many.cell).toBeLessThan(1);
    expect(many.height).toBeLessThanOrEqual(box.height + 1);
    expect(many.width).toBeLessThanOrEqual(box.width + 1);
    expect(geometry(1000, 1000, box, 1e9).cell).toBe(40);
  });

  it('has rows that can be read where they are few and keys many', () => {
    const flat = geometry(9, 499, { width: 700, height: 400 }, 1);
    expect(flat.cell).toBeLessThan(2);
    expect(flat.high).toBe(14);
    expect(cellAt(flat, { x: 0, y: 0 }, { x: flat.left, y: flat.top + 8.5 * 14 }, 9, 499)).toEqual({
      row: 8,
      column: 0,
    });
    expect(geometry(9, 499, { width: 700, height: 400 }, 20)).toMatchObject({ cell: 22, high: 22 });
  });

  it('finds the cell below the pointer, also where it is scrolled', () => {
    const g = geometry(100, 100, box, 4);
    expect(cellAt(g, { x: 0, y: 0 }, { x: g.left + 1, y: g.top + 1 }, 100, 100)).toEqual({ row: 0, column: 0 });
    const scroll = { x: 3 * g.cell, y: 7 * g.cell };
    expect(cellAt(g, scroll, { x: g.left + 1, y: g.top + 1 }, 100, 100)).toEqual({ row: 7, column: 3 });
    expect(cellAt(g, scroll, { x: g.left - 1, y: g.top + 1 }, 100, 100), 'a name').toBe(null);
    expect(cellAt(g, scroll, { x: 499, y: 399 }, 8, 5), 'behind the end').toBe(null);
  });

  it('scrolls no farther than it has to', () => {
    expect(reveal(0, 10, 3, 100)).toBe(0);
    expect(reveal(50, 10, 3, 100)).toBe(30);
    expect(reveal(0, 10, 20, 100)).toBe(110);
    expect([stride(12, 12), stride(5, 12), stride(0.5, 12)]).toEqual([1, 3, 24]);
  });
});
