// Which evaluations are on the screen: those that are wide enough one by one, the others summed up by pixel column.
import type { Timeline } from '../../lib/timeline';
import { firstAfter, nice, type Axis, type Span } from './axis';
import { kindOf, perToken, untimedShare, type Kind, type LaneRow } from './lanes';

/** Narrower bars than this, in pixels, are summed up. */
const LEAST_BAR = 1;
/** How many times are looked at to choose the height of the lane of times. */
const SAMPLE = 600;

/** Sums over the narrow evaluations of each pixel column. */
export class Columns {
  /** How much of the column each kind covers, 0..1. */
  readonly cover: Record<Kind, Float32Array>;
  /** How much of the column is without times of operators, 0..1. */
  readonly untimed: Float32Array;
  /** Nanoseconds a token: the longest, and the sum over `count` evaluations. */
  readonly longest: Float64Array;
  readonly sum: Float64Array;
  readonly count: Uint32Array;
  /** Page faults of the evaluation with the most. */
  readonly minor: Uint32Array;
  readonly major: Uint32Array;

  constructor(readonly width: number) {
    const cover = () => new Float32Array(width);
    this.cover = { prompt: cover(), generate: cover(), unknown: cover(), other: cover() };
    this.untimed = cover();
    this.longest = new Float64Array(width);
    this.sum = new Float64Array(width);
    this.count = new Uint32Array(width);
    this.minor = new Uint32Array(width);
    this.major = new Uint32Array(width);
  }

  add(t: Timeline, seq: number, x0: number, x1: number) {
    const at = Math.min(this.width - 1, Math.max(0, Math.floor(x0)));
    const kind = kindOf(t, seq);
    const split = Math.min(x1, at + 1);
    const share = untimedShare(t, seq);
    const put = (column: number, part: number) => {
      this.cover[kind][column] += part;
      this.untimed[column] += part * share;
    };
    put(at, Math.max(0.02, split - x0));
    if (x1 > at + 1 && at + 1 < this.width) put(at + 1, x1 - at - 1);
    const ns = perToken(t, seq);
    this.longest[at] = Math.max(this.longest[at], ns);
    this.sum[at] += ns;
    this.count[at]++;
    this.minor[at] = Math.max(this.minor[at], t.minor_faults[seq]);
    this.major[at] = Math.max(this.major[at], t.major_faults[seq]);
  }
}

/** What most of a column's evaluations with tokens are. */
export function mostOf({ cover }: Columns, x: number): Kind {
  const kinds: Kind[] = ['generate', 'prompt', 'unknown'];
  return kinds.reduce((most, kind) => (cover[kind][x] > cover[most][x] ? kind : most));
}

/** A bar on the screen. */
export interface Bar {
  seq: number;
  x0: number;
  x1: number;
}

export interface Visible {
  bars: Bar[];
  columns: Columns;
  /** What the height of the lane of times is: nanoseconds a token. Longer ones are cut and marked. */
  ceiling: number;
  mostMinor: number;
  mostMajor: number;
}

/** What of a row is in the window, which is `width` pixels wide. */
export function visible(t: Timeline, row: LaneRow, axis: Axis, span: Span, width: number): Visible {
  const scale = width / (span.to - span.from);
  const columns = new Columns(Math.max(1, Math.ceil(width)));
  const bars: Bar[] = [];
  let [mostMinor, mostMajor] = [0, 0];
  const first = firstAfter(row, axis, span.from);
  let i = first;
  for (; i < row.length; i++) {
    const seq = row.seqs[i];
    const begin = axis.begin(seq);
    if (begin >= span.to) break;
    const x0 = (begin - span.from) * scale;
    const x1 = (axis.end(seq) - span.from) * scale;
    if (x1 - x0 >= LEAST_BAR) bars.push({ seq, x0, x1 });
    else columns.add(t, seq, x0, x1);
    mostMinor = Math.max(mostMinor, t.minor_faults[seq]);
    mostMajor = Math.max(mostMajor, t.major_faults[seq]);
  }
  const stride = Math.max(1, Math.ceil((i - first) / SAMPLE));
  const sample: number[] = [];
  for (let k = first; k < i; k += stride) sample.push(perToken(t, row.seqs[k]));
  return { bars, columns, ceiling: ceiling(sample), mostMinor, mostMajor };
}

/** A round height that most values fit under, and all of them unless a few are far above the others. */
export function ceiling(values: number[]): number {
  if (values.length === 0) return 1;
  const sorted = values.toSorted((a, b) => a - b);
  const longest = sorted[sorted.length - 1];
  const usual = sorted[Math.floor((sorted.length - 1) * 0.95)];
  return nice(Math.max(1, longest <= usual * 2.5 ? longest : usual * 1.25));
}
