// The byte axis of a track: files or buffers one after the other, and the window of it that is on the screen. Addresses
// go to 2^47 and positions on the axis count from 0, so that float64 is exact to the byte.
import type { Memory, PlaceSummary, Region } from '../../lib/types';

/** Bytes of the narrowest window. */
export const NARROWEST = 16;

/** A file or a buffer on the axis. */
export interface Span {
  place: string;
  /** Offset or address of the first byte. */
  start: number;
  bytes: number;
  /** Where it begins on the axis. */
  base: number;
}

/** What of the axis is on the screen. */
export interface Window {
  from: number;
  bytes: number;
}

interface Piece {
  start: number;
  end: number;
}

/** A hole of this many bytes parts two buffers of one name, of which one came after the other. */
const HOLE = 64 * 2 ** 20;

/** The memory that pieces are of: what has a hole between that is greater than all of them is not one. */
function allocations(pieces: Piece[]): Piece[] {
  const joined: Piece[] = [];
  for (const piece of pieces.sort((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    if (last && piece.start <= last.end) last.end = Math.max(last.end, piece.end);
    else joined.push({ ...piece });
  }
  const hole = Math.max(
    HOLE,
    joined.reduce((n, piece) => n + piece.end - piece.start, 0),
  );
  const found: Piece[] = [];
  for (const piece of joined) {
    const last = found.at(-1);
    if (last && piece.start - last.end < hole) last.end = piece.end;
    else found.push(piece);
  }
  return found;
}

export class Axis {
  readonly total: number;

  constructor(readonly spans: readonly Span[]) {
    const last = spans.at(-1);
    this.total = last ? last.base + last.bytes : 0;
  }

  /** Files from their first byte to their last, as far as `places` knows it; buffers where something was read. */
  static of(memory: Memory, places: readonly PlaceSummary[], regions: readonly Region[]): Axis {
    const byPlace = new Map<string, Piece[]>();
    for (const { memory: of, place, end } of places) {
      if (of === 'DISK' && memory === of && end > 0) byPlace.set(place, [{ start: 0, end }]);
    }
    for (const region of regions) {
      if (region.memory !== memory || region.bytes <= 0) continue;
      const known = byPlace.get(region.place) ?? [];
      if (known.length === 0) byPlace.set(region.place, known);
      known.push({ start: memory === 'DISK' ? 0 : region.start, end: region.start + region.bytes });
    }
    let base = 0;
    const spans: Span[] = [];
    for (const [place, known] of byPlace) {
      for (const { start, end } of allocations(known)) {
        spans.push({ place, start, bytes: end - start, base });
        base += end - start;
      }
    }
    return new Axis(spans);
  }

  /** Where a byte of a place is on the axis. */
  position(place: string, byte: number): number | undefined {
    for (const span of this.spans) {
      if (span.place === place && byte >= span.start && byte <= span.start + span.bytes) {
        return span.base + byte - span.start;
      }
    }
    return undefined;
  }

  /** The place at a position, and the offset or address there. */
  at(position: number): { span: Span; byte: number } | undefined {
    const span = this.spans.findLast((s) => s.base <= position);
    if (!span || position >= this.total) return undefined;
    return { span, byte: span.start + Math.floor(position - span.base) };
  }
}

/** All of an axis. */
export function whole(total: number): Window {
  return { from: 0, bytes: Math.max(total, NARROWEST) };
}

/** The nearest window that the axis has. */
export function clamp(window: Window, total: number): Window {
  const bytes = Math.min(Math.max(window.bytes, NARROWEST), Math.max(total, NARROWEST));
  return { from: Math.min(Math.max(window.from, 0), Math.max(0, total - bytes)), bytes };
}

/** Makes the window `factor` times as wide; the byte at `position` stays where it is on the screen. */
export function zoom(window: Window, total: number, position: number, factor: number): Window {
  const bytes = Math.min(Math.max(window.bytes * factor, NARROWEST), Math.max(total, NARROWEST));
  const from = position - ((position - window.from) * bytes) / window.bytes;
  return clamp({ from, bytes }, total);
}

/** A window that shows `from..to` with some room beside it. */
export function around(from: number, to: number, total: number): Window {
  const room = (to - from) * 0.15;
  return clamp({ from: from - room, bytes: to - from + 2 * room }, total);
}

/** The window moved so that `from..to` is seen; the same window if some of it is seen already. */
export function reveal(window: Window, from: number, to: number, total: number): Window {
  if (to > window.from && from < window.from + window.bytes) return window;
  return clamp({ from: (from + to) / 2 - window.bytes / 2, bytes: window.bytes }, total);
}

/** A mark of the axis. */
export interface Tick {
  position: number;
  span: Span;
  byte: number;
  /** Distance of the marks: how exact their labels have to be. */
  step: number;
}

/** Marks at round offsets, `most` of them at the most; those of a buffer count from its begin. */
export function ticks(axis: Axis, window: Window, most: number): Tick[] {
  const step = 2 ** Math.max(0, Math.ceil(Math.log2(window.bytes / Math.max(1, most))));
  const found: Tick[] = [];
  for (const span of axis.spans) {
    const from = Math.max(window.from, span.base);
    const to = Math.min(window.from + window.bytes, span.base + span.bytes);
    if (to <= from) continue;
    for (let byte = Math.ceil((from - span.base) / step) * step; span.base + byte < to; byte += step) {
      found.push({ position: span.base + byte, span, byte: span.start + byte, step });
    }
  }
  return found;
}
