// The byte axis and its window.
import { describe, expect, it } from 'vitest';
import type { PlaceSummary, Region } from '../../lib/types';
import { around, Axis, clamp, NARROWEST, reveal, ticks, whole, zoom } from './axis';

const place = (memory: 'DISK' | 'BUFFER', place: string, start: number, end: number): PlaceSummary => ({
  ...{ memory, place, start, end },
  ...{ regions: 0, read_bytes: 0, accesses: 0 },
});
const region = (memory: 'DISK' | 'BUFFER', place: string, start: number, bytes: number): Region => ({
  ...{ memory, place, start, bytes, name: 'w', layer: null, expert: null },
  ...{ accesses: 1, read_bytes: bytes, last_eval: 0, last_token: 0 },
});
const HIGH = 0x7eff_0405_2040;

describe('the axis', () => {
  it('puts buffers one after the other, and finds back to the very byte of a high address', () => {
    const axis = Axis.of(
      'BUFFER',
      [place('BUFFER', 'CPU', HIGH, HIGH + 100), place('DISK', 'f', 0, 9), place('BUFFER', 'KV', 4096, 5096)],
      [],
    );
    expect(axis.total).toBe(1100);
    expect(axis.position('CPU', HIGH + 99)).toBe(99);
    expect(axis.at(99.5)).toEqual({ span: axis.spans[0], byte: HIGH + 99 });
    expect(axis.position('KV', 4097)).toBe(101);
    expect(axis.at(101)?.byte).toBe(4097);
    expect(axis.position('KV', 4095)).toBeUndefined();
    expect(axis.at(1100)).toBeUndefined();
  });

  it('shows a file from its first byte and has room for regions that nobody announced', () => {
    const axis = Axis.of(
      'DISK',
      [place('DISK', 'a', 0, 50)],
      [region('DISK', 'a', 40, 30), region('DISK', 'b', 64, 6)],
    );
    expect(axis.spans.map((s) => [s.place, s.start, s.bytes, s.base])).toEqual([
      ['a', 0, 70, 0],
      ['b', 0, 70, 70],
    ]);
  });

  it('keeps two buffers of one name apart', () => {
    const axis = Axis.of('BUFFER', [place('BUFFER', 'KV', 0, 10), place('BUFFER', 'KV', HIGH, HIGH + 10)], []);
    expect([axis.position('KV', 3), axis.position('KV', HIGH + 3)]).toEqual([3, 13]);
  });
});

describe('the window', () => {
  const total = 50 * 2 ** 30;

  it('zooms from 50 GiB to single bytes with the byte under the pointer where it was', () => {
    let window = whole(total);
    const byte = 31_866_688;
    const part = (byte - window.from) / window.bytes;
    for (let i = 0; i < 200; i++) window = zoom(window, total, byte, 0.8);
    expect(window.bytes).toBe(NARROWEST);
    expect((byte - window.from) / window.bytes).toBeCloseTo(part, 6);
    for (let i = 0; i < 200; i++) window = zoom(window, total, byte, 1.25);
    expect(window).toEqual(whole(total));
  });

  it('never leaves the axis', () => {
    expect(clamp({ from: -5, bytes: 100 }, 1000)).toEqual({ from: 0, bytes: 100 });
    expect(clamp({ from: 990, bytes: 100 }, 1000)).toEqual({ from: 900, bytes: 100 });
    expect(clamp({ from: 10, bytes: 5000 }, 1000)).toEqual({ from: 0, bytes: 1000 });
  });

  it('moves only for what is off the screen', () => {
    const window = { from: 100, bytes: 100 };
    expect(reveal(window, 190, 300, 1000)).toBe(window);
    expect(reveal(window, 500, 510, 1000)).toEqual({ from: 455, bytes: 100 });
    expect(around(500, 600, 1000)).toEqual({ from: 485, bytes: 130 });
  });

  it('has marks at round offsets of each place, and not too many', () => {
    const axis = Axis.of('BUFFER', [place('BUFFER', 'a', 1000, 1300), place('BUFFER', 'b', 5000, 5300)], []);
    const marks = ticks(axis, whole(axis.total), 8);
    expect(marks.map((m) => m.byte)).toEqual([1000, 1128, 1256, 5000, 5128, 5256]);
    expect(marks.map((m) => m.position)).toEqual([0, 128, 256, 300, 428, 556]);
  });
});
