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

export class Axis {
  readonly total: number;

  constructor(readonly spans: readonly Span[]) {
    const last = spans.at(-1);
    this.total = last ? last.base + last.bytes : 0;
  }

  /** The files or the buffers that a session has; a place that grew holds all regions that are known of it. */
  static of(memory: Memory, places: readonly PlaceSummary[], regions: readonly Region[]): Axis {
    const spans = places
      .filter((p) => p.memory === memory && p.end > p.start)
      .map((p) => ({ place: p.place, start: p.start, end: p.end }));
    for (const region of regions) {
      if (region.memory !== memory || region.bytes <= 0) continue;
      const end = region.start + region.bytes;
      const away = (s: { start: number; end: number }) => Math.max(0, s.start - region.start, end - s.end);
      const same = spans.filter((s) => s.place === region.place);
      const nearest = same.reduce((a, b) => (away(b) < away(a) ? b : a), same[0]);
      if (!nearest) spans.push({ place: region.place, start: memory === 'DISK' ? 0 : region.start, end });
      else if (away(nearest) > 0) {
        nearest.start = Math.min(nearest.start, region.start);
        nearest.end = Math.max(nearest.end, end);
      }
    }
    let base = 0;
    return new Axis(
      spans.map(({ place, start, end }) => {
        const span = { place, start, bytes: end - start, base };
        base += span.bytes;
        return span;
      }),
    );
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
