import { describe, expect, it } from 'vitest';
import { binPlace, opTotals, round, roundBytes } from './barOptions';
import { plain } from './look';
import { cell, cells, cellsOf, pattern } from './mapOptions';
import { exactly } from './scope';
import { timeline } from './testing';
import { binLines, binRow, binsOf } from './tokenOption';
import { binTokens } from './tokens';

const map = {
  layers: [0, 1, null],
  bins: [
    { first_token: 0, last_token: 3, evaluations: 1 },
    { first_token: 4, last_token: 7, evaluations: 4 },
  ],
  ns: [
    [40, 8],
    [80, 8],
    [0, 4],
  ],
};

describe('the pictures', () => {
  it('have axes that end at round numbers, of bytes in binary units', () => {
    expect(round(730)).toEqual({ max: 800, interval: 200 });
    expect(round(0)).toEqual({ max: 1, interval: 1 });
    expect(roundBytes(30 * 1024 * 1024, 2)).toEqual({ max: 40 * 1024 * 1024, interval: 20 * 1024 * 1024 });
  });

  it('sum up operators over phases, the longest first', () => {
    const sums = opTotals([
      { context: 0, op: 'ADD', phase: 'PROMPT', count: 1, ns: 5, bytes: 1 },
      { context: 0, op: 'MUL', phase: 'GENERATE', count: 2, ns: 4, bytes: 2 },
      { context: 0, op: 'ADD', phase: 'GENERATE', count: 3, ns: 1, bytes: 3 },
    ]);
    expect(sums).toEqual([
      { op: 'ADD', count: 4, ns: 6, bytes: 4, PROMPT: 5, GENERATE: 1 },
      { op: 'MUL', count: 2, ns: 4, bytes: 2, PROMPT: 0, GENERATE: 4 },
    ]);
  });

  it('mark a percentile where it lies between the ends of its bin', () => {
    const bins = [
      { from: 10, to: 100, count: 1 },
      { from: 100, to: 1000, count: 1 },
    ];
    const histogram = { count: 2, min: 10, p50: 0, p90: 0, p99: 0, max: 999, mean: 0, bins };
    expect(binPlace(histogram, 10)).toBe(0);
    expect(binPlace(histogram, Math.sqrt(1e5))).toBeCloseTo(1.5);
    expect(binPlace(histogram, 5000)).toBe(2);
  });

  it('colour a cell by the time of a token, and frame what is selected', () => {
    expect([cell(map, 1, 0), cell(map, 2, 1)]).toEqual([20, 1]);
    expect([...cells(map).values]).toEqual([10, 2, 20, 2, 0, 1]);
    expect(cellsOf(map, 1, [5, 5])).toEqual({ x: [1, 1], y: [1, 1] });
    expect(cellsOf(map, null, [2, 5])).toEqual({ x: [0, 1], y: [0, 2] });
    expect(cellsOf(map, 1, null)).toEqual({ x: [0, 1], y: [1, 1] });
    expect([cellsOf(map, null, null), cellsOf(map, 9, null), cellsOf(map, 1, [20, 30])]).toEqual([null, null, null]);
  });

  it('call a file read in order sequential, and jumps random', () => {
    expect([pattern(0.93), pattern(0.5), pattern(0.1)].map((text) => text.split(/[:,]/)[0])).toEqual([
      'sequential',
      'mixed',
      'random',
    ]);
  });

  it('say what a bar is of, and give the same as a row', () => {
    const [one] = binTokens(timeline([[1, 1, 3e6]]), [0, 0], 10);
    expect(binLines(one, '<b>')).toEqual([
      'token 0 “<b>” (GENERATE)',
      '3.00 ms',
      'operators: 10',
      'DISK: 300 B (75.0 % of what was read)',
      'BUFFER: 100 B',
      'minor page faults: 1',
      'major page faults: 0',
    ]);
    expect(binRow(one)).toMatchObject({ token: 0, last_token: 0, phase: 'GENERATE', ms: 3, disk_share: 0.75 });
    const bins = binTokens(timeline([[8, 0, 8]]), [0, 7], 4);
    expect([binsOf(bins, [3, 4]), binsOf(bins, null), binsOf(bins, [9, 9])]).toEqual([[1, 2], null, null]);
  });

  it('take no name for markup, nor for a pattern', () => {
    expect(exactly('a*[0] {b}\\')).toBe('a\\*\\[0\\] \\{b\\}\\\\');
    expect(plain('{a|x} {y}')).toBe('{\u200ba|x} {y}');
  });
});
