import { describe, expect, it } from 'vitest';
import { Matrix, UNSEEN } from './matrix';
import { Palette, part } from './palette';
import { raster } from './raster';

const palette = new Palette('dark');

/** A picture of rows of weights, causal. */
function picture(rows: (number | null)[][]) {
  const keys = rows.map((_, token) => ({ token, cell: null, pos: token, text: null }));
  return Matrix.from(
    {
      layer: 0,
      n_head: 1,
      n_head_kv: 1,
      keys,
      rows: rows.map((row, token) => ({
        token,
        eval: 0,
        pos: token,
        text: null,
        spans: [{ first: 0, n: row.length }],
      })),
      heads: [{ head: 0, kv_head: 0, weights: rows, sinks: [] }],
      refused: [],
    },
    [0, 9],
  ).picture(0, rows.length - 1, rows.length - 1);
}

const painted = (rows: (number | null)[][], size: number, cell: number, row = 0, column = 0) => {
  const rgba = new Uint8ClampedArray(size * size * 4);
  raster(picture(rows), 0, { row, column, cellWidth: cell, cellHeight: cell }, rgba, size, size, palette, 'linear');
  return (x: number, y: number) => [...rgba.slice((y * size + x) * 4, (y * size + x) * 4 + 3)];
};

describe('a picture of attention', () => {
  const rows = [[1], [0.25, 0.75], [0, 0.5, null]];

  it('has a colour for a weight, another for NaN, and the panel where nothing is seen', () => {
    const at = painted(rows, 6, 2);
    expect(at(0, 0)).toEqual([...palette.of(1, 'linear')]);
    expect(at(1, 1)).toEqual([...palette.of(1, 'linear')]);
    expect(at(2, 3)).toEqual([...palette.of(0.75, 'linear')]);
    expect(at(2, 0)).toEqual([...palette.nothing]);
    expect(at(5, 5)).toEqual([...palette.nan]);
    expect(at(0, 5)).toEqual([...palette.of(0, 'linear')]);
    expect([...palette.of(0, 'linear')]).not.toEqual([...palette.nothing]);
  });

  it('begins where it is scrolled to, and is empty behind its end', () => {
    const at = painted(rows, 4, 2, 1, 1);
    expect(at(0, 0)).toEqual([...palette.of(0.75, 'linear')]);
    expect(at(3, 3)).toEqual([...palette.nan]);
    expect(painted(rows, 8, 2)(7, 7)).toEqual([...palette.nothing]);
  });

  it('shows the heaviest of what shares a pixel', () => {
    const at = painted([[1], [0.2, 0.8], [0.1, 0.2, 0.75], [0, 0.1, 0.2, 0.3]], 2, 0.5);
    expect(at(0, 0)).toEqual([...palette.of(1, 'linear')]);
    expect(at(0, 1)).toEqual([...palette.of(0.2, 'linear')]);
    expect(at(1, 1)).toEqual([...palette.of(0.75, 'linear')]);
    expect(at(1, 0)).toEqual([...palette.nothing]);
    expect(palette.heavier(0.5, NaN)).toBeNaN();
    expect(palette.heavier(UNSEEN, 0)).toBe(0);
  });
});

describe('colours', () => {
  it('grow with the weight', () => {
    const light = ([r, g, b]: readonly number[]) => 0.299 * r + 0.587 * g + 0.114 * b;
    const dark = [0, 0.1, 0.3, 0.6, 0.8, 1].map((weight) => light(palette.of(weight, 'linear')));
    expect([...dark].sort((a, b) => a - b)).toEqual(dark);
    const white = [0, 0.1, 0.3, 0.6, 0.8, 1].map((weight) => light(new Palette('light').of(weight, 'linear')));
    expect([...white].sort((a, b) => b - a)).toEqual(white);
  });
  it('of a root tell small weights apart', () => {
    expect([part(0.01, 'root'), part(0.01, 'linear'), part(2, 'root'), part(-0.5, 'linear')]).toEqual([
      0.1, 0.01, 1, 0,
    ]);
  });
});
