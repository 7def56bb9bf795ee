// The two axes of the timeline, time and tokens, and the window on them: zoom, pan, what is to be seen, ticks.
import { digits } from '../../lib/format';
import type { Range } from '../../lib/selection.svelte';
import type { Timeline } from '../../lib/timeline';
import { kindOf, type LaneRow, type Lanes } from './lanes';

export type AxisKind = 'time' | 'tokens';

/** A part of an axis: nanoseconds since the session began, or tokens. */
export interface Span {
  from: number;
  to: number;
}

/** Where evaluations are. `least` is the shortest span that can be looked at. */
export interface Axis {
  kind: AxisKind;
  begin(seq: number): number;
  end(seq: number): number;
  whole: Span;
  least: number;
}

/** A mark on the ruler. */
export interface Tick {
  at: number;
  label: string;
}

export function axisOf(kind: AxisKind, t: Timeline, lanes: Lanes): Axis {
  if (kind === 'time') {
    return {
      kind,
      begin: (seq) => t.start_ns[seq],
      end: (seq) => t.start_ns[seq] + t.dur_ns[seq],
      whole: { from: 0, to: Math.max(1, t.end_ns) },
      least: 500,
    };
  }
  return {
    kind,
    begin: (seq) => lanes.position[seq],
    end: (seq) => lanes.position[seq + 1],
    whole: { from: 0, to: Math.max(1, lanes.position[lanes.length]) },
    least: 1e-4,
  };
}

/** The whole run with a little air on both sides. */
export function fit({ whole }: Axis): Span {
  const air = (whole.to - whole.from) * 0.006;
  return { from: whole.from - air, to: whole.to + air };
}

/** Moves and shortens a span until it is inside the run. */
export function clamp(span: Span, axis: Axis): Span {
  const all = fit(axis);
  const width = Math.min(all.to - all.from, Math.max(axis.least, span.to - span.from));
  const middle = (span.from + span.to) / 2;
  const from = Math.min(all.to - width, Math.max(all.from, middle - width / 2));
  return { from, to: from + width };
}

/** Shows `factor` times as much, with `at` staying where it is. */
export function zoom(span: Span, at: number, factor: number, axis: Axis): Span {
  const all = fit(axis);
  const width = span.to - span.from;
  const wanted = Math.min(all.to - all.from, Math.max(axis.least, width * factor));
  const from = at - ((at - span.from) / width) * wanted;
  return clamp({ from, to: from + wanted }, axis);
}

export function pan(span: Span, by: number, axis: Axis): Span {
  return clamp({ from: span.from + by, to: span.to + by }, axis);
}

/** A part with air on both sides, to be looked at alone. */
export function around(part: Span, axis: Axis, air = 0.04): Span {
  const more = (part.to - part.from) * air;
  return clamp({ from: part.from - more, to: part.to + more }, axis);
}

/** Moves the window as little as is needed to see a part. */
export function reveal(span: Span, part: Span, axis: Axis): Span {
  const width = span.to - span.from;
  const long = part.to - part.from > width * 0.7;
  const seen = Math.min(part.to, span.to) - Math.max(part.from, span.from);
  if (long ? seen > width * 0.5 : part.from >= span.from && part.to <= span.to) return span;
  if (long) return pan(span, part.from - width * 0.04 - span.from, axis);
  const air = width * 0.15;
  return pan(span, part.from < span.from ? part.from - air - span.from : part.to + air - span.to, axis);
}

/** The window of a chart recorder: the newest is near the right border. */
export function follow(span: Span, axis: Axis): Span {
  const width = span.to - span.from;
  return clamp({ from: axis.whole.to - width * 0.97, to: axis.whole.to + width * 0.03 }, axis);
}

/** Index of a row's first evaluation that ends after `at`. */
export function firstAfter(row: LaneRow, axis: Axis, at: number): number {
  let [low, high] = [0, row.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (axis.end(row.seqs[middle]) > at) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The evaluation of a row at a place, or the nearest one that is not farther than `near`. */
export function evaluationAt(row: LaneRow, axis: Axis, at: number, near: number): number | undefined {
  const i = firstAfter(row, axis, at);
  let best: number | undefined;
  let distance = near;
  for (const seq of [row.seqs[i - 1], row.seqs[i]].slice(i === 0 ? 1 : 0, i < row.length ? 2 : 1)) {
    const away = Math.max(0, axis.begin(seq) - at, at - axis.end(seq));
    if (away <= distance) [best, distance] = [seq, away];
  }
  return best;
}

/** Where tokens are. Tokens of one evaluation are computed together: only the axis of tokens tells them apart. */
export function spanOfTokens(tokens: Range, t: Timeline, axis: Axis): Span | null {
  const last = Math.min(tokens[1], t.tokens - 1);
  const [a, b] = [t.seqOfToken(tokens[0]), t.seqOfToken(last)];
  if (a === undefined || b === undefined) return null;
  if (axis.kind === 'time') return { from: axis.begin(a), to: Math.max(axis.end(a), axis.end(b)) };
  return {
    from: axis.begin(a) + tokens[0] - t.first_token[a],
    to: axis.begin(b) + last + 1 - t.first_token[b],
  };
}

/** The tokens of all evaluations that a part of the axis touches. */
export function tokensOfSpan(part: Span, t: Timeline, lanes: Lanes, axis: Axis): Range | null {
  let range: Range | null = null;
  for (const row of lanes.rows) {
    for (let i = firstAfter(row, axis, part.from); i < row.length; i++) {
      const seq = row.seqs[i];
      if (axis.begin(seq) > part.to) break;
      if (kindOf(t, seq) === 'other') continue;
      let [first, last] = [t.first_token[seq], t.first_token[seq] + t.n_tokens[seq] - 1];
      if (axis.kind === 'tokens') {
        const begin = axis.begin(seq);
        last = Math.min(last, first + Math.floor(part.to - begin));
        first = Math.max(first, first + Math.floor(part.from - begin));
      }
      range = range ? [Math.min(range[0], first), Math.max(range[1], last)] : [first, last];
    }
  }
  return range;
}

/** 1, 2 or 5 times a power of ten, at least `value`. */
export function nice(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value * (1 - 1e-9)) ?? 10 * power;
}

const UNITS: [number, string][] = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
];

/** Steps from the begin of the run that a label may count. */
const LONGEST_LABEL = 100_000;

/** Ticks of the ruler, about `every` parts of the window apart. `base` is what labels with a `+` count from. */
export function ticks(
  span: Span,
  every: number,
  axis: Axis,
  t: Timeline,
): { base: string | null; ticks: Tick[]; step: number } {
  const width = span.to - span.from;
  const step = Math.max(1, nice(width * every));
  const list: Tick[] = [];
  if (axis.kind === 'tokens') {
    for (let token = Math.max(0, Math.floor(span.from / step) * step - step); list.length < 200; token += step) {
      const seq = t.seqOfToken(token);
      const at = seq === undefined ? undefined : axis.begin(seq) + token - t.first_token[seq];
      if (at === undefined || at > span.to) break;
      if (at >= span.from) list.push({ at, label: String(token) });
    }
    return { base: null, ticks: list, step };
  }
  const first = Math.ceil(Math.max(0, span.from) / step) * step;
  // Where labels would get long they count from a round time, which is said once.
  const base = first / step > LONGEST_LABEL ? Math.floor(first / (step * 1000)) * step * 1000 : 0;
  const [unit, name] = UNITS.find(([unit]) => span.to - base >= unit) ?? UNITS[3];
  const places = Math.max(0, Math.ceil(Math.log10(unit / step)));
  for (let i = 0; i < 200 && first + i * step <= span.to; i++) {
    const value = (first + i * step - base) / unit;
    list.push({ at: first + i * step, label: `${base ? '+' : ''}${value.toFixed(places)} ${name}` });
  }
  return { base: base ? baseLabel(base) : null, ticks: list, step };
}

function baseLabel(ns: number): string {
  return ns >= 1e9 ? `${Number((ns / 1e9).toFixed(6))} s` : `${digits(ns / 1e6)} ms`;
}
