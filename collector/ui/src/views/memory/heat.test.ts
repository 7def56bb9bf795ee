// Colours, labels and page faults.
import { describe, expect, it } from 'vitest';
import { Axis } from './axis';
import { fit, tickLabel } from './draw';
import { heat, label, palette, step } from './heat';
import { faultColumns, sumFaults } from './faults';
import { Timeline } from '../../lib/timeline';

describe('colours of the heatmap', () => {
  it('grow with the logarithm of counts from nothing, and have an ink for each', () => {
    const scale = { metric: 'accesses', low: 0, high: 1000 } as const;
    expect([heat(scale, 0), heat(scale, 1000)]).toEqual([0, 1]);
    expect(heat(scale, 100)).toBeCloseTo(Math.log(101) / Math.log(1001));
    const made = palette([20, 26, 34]);
    expect([made.ink[step(scale, 1)], made.ink[step(scale, 1000)]]).toEqual(['#f4f7fa', '#0b1016']);
  });

  it('are straight over tokens; one value alone is the hottest', () => {
    expect(heat({ metric: 'last', low: 100, high: 300 }, 200)).toBe(0.5);
    expect(heat({ metric: 'last', low: 5, high: 5 }, 5)).toBe(1);
    expect(heat({ metric: 'bytes', low: 1, high: 1 }, 1)).toBe(1);
  });

  it('say their units', () => {
    expect([label('accesses', 1200), label('bytes', 2048), label('last', 7), label('last', -1)]).toEqual([
      '1,200',
      '2.00 KiB',
      'token 7',
      'no token',
    ]);
  });
});

it('names are cut to what says most', () => {
  expect(fit('blk.12.ffn_down.weight', 200)).toBe('blk.12.ffn_down.weight');
  expect(fit('blk.12.ffn_down.weight', 80)).toBe('ffn_down');
  expect(fit('blk.12.ffn_down.weight', 40)).toBe('ffn_d…');
  expect(fit('blk.1.ffn_up_exps.weight', 100, 12)).toBe('ffn_up_exps #12');
  expect(fit('blk.1.ffn_up_exps.weight', 80, 12)).toBe('ffn_up_… #12');
  expect(fit('blk.1.ffn_up_exps.weight', 30, 12)).toBe('#12');
  expect(fit('blk.12.ffn_down.weight', 20)).toBe('');
});

it('marks of the axis differ from each other, however great the file', () => {
  const axis = new Axis([{ place: 'f', start: 0, bytes: 2 ** 40, base: 0 }]);
  const at = (byte: number, step: number) => tickLabel({ position: byte, span: axis.spans[0], byte, step }, 'DISK');
  expect([at(0, 1), at(2 ** 24, 2 ** 24), at(6831 * 2 ** 20, 2 ** 20)]).toEqual(['0', '16 MiB', '6,831 MiB']);
  expect(at(0x1e64840, 64)).toBe('0x1e64840');
  const buffer = { place: 'b', start: 0x7eff_0000_0000, bytes: 2 ** 30, base: 0 };
  const label = (byte: number) => tickLabel({ position: 0, span: buffer, byte, step: 2 ** 20 }, 'BUFFER');
  expect([label(buffer.start), label(buffer.start + 2 ** 21)]).toEqual(['0x7eff00000000', '+2 MiB']);
});

it('page faults of an evaluation are as wide as its tokens', () => {
  const timeline = new Timeline();
  const item = {
    ...{ graph: 0, context: 0, dur_ns: 1, n_unknown: 0, n_generated: 1, operators: 1, untimed: 0 },
    status: 0,
    tokens: [],
  };
  const sums = { disk_bytes: 0, buffer_bytes: 0 };
  timeline.addLive([
    { ...item, ...sums, seq: 0, eval: 0, start_ns: 0, first_token: 0, n_tokens: 3, minor_faults: 5, major_faults: 2 },
    { ...item, ...sums, seq: 1, eval: 1, start_ns: 2, first_token: 3, n_tokens: 1, minor_faults: 7, major_faults: 0 },
  ]);
  expect(sumFaults(timeline)).toEqual({ minor: 12, major: 2, tokens: 4 });
  const found = faultColumns(timeline, 8);
  expect([...found.minor]).toEqual([5, 5, 5, 5, 5, 5, 7, 7]);
  expect([...found.major]).toEqual([2, 2, 2, 2, 2, 2, 0, 0]);
  expect(found.most).toEqual({ minor: 7, major: 2 });
});
