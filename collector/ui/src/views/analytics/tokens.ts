// What each token cost, from the evaluations that are here. A token's part of an evaluation is the evaluation by its tokens.
import { SUMS, zero, type Sums } from '../../lib/batch';
import type { Range } from '../../lib/selection.svelte';
import type { Timeline } from '../../lib/timeline';
import type { Phase } from '../../lib/types';

/** Neighbouring tokens and the sums of their parts. */
export interface TokenBin extends Sums {
  first: number;
  last: number;
  /** What most of its tokens are; null if that is unknown. */
  phase: Phase | null;
  /** Tokens of the one evaluation that all of its tokens are in; 0 if they are in several. */
  batch: number;
  ns: number;
  /** The slowest of its tokens, and how long that took. */
  slowest: number;
  slowest_ns: number;
}

/** Time and tokens of a phase. */
export interface PhaseSum {
  phase: Phase | null;
  tokens: number;
  ns: number;
}

/** What most of some tokens are: an answer's where half of them are, unknown where half of them are. */
export function phaseOfMost(of: Record<'tokens' | 'generated' | 'unknown', number>): Phase | null {
  const { tokens, generated, unknown } = of;
  if (generated > 0 && generated * 2 >= tokens) return 'GENERATE';
  return unknown > 0 && unknown * 2 >= tokens ? null : 'PROMPT';
}

/** What most tokens of an evaluation are. */
export function phaseOf(timeline: Timeline, seq: number): Phase | null {
  const { n_tokens, n_generated, n_unknown } = timeline;
  return phaseOfMost({ tokens: n_tokens[seq], generated: n_generated[seq], unknown: n_unknown[seq] });
}

/** Nanoseconds of an evaluation by its tokens. */
export function perToken(timeline: Timeline, seq: number): number {
  return timeline.dur_ns[seq] / Math.max(1, timeline.n_tokens[seq]);
}

/** The tokens of `window` in at most `most` bins of one size; those of other contexts cost nothing, if one is given. */
export function binTokens(timeline: Timeline, window: Range, most: number, context: number | null = null): TokenBin[] {
  const [from, to] = [Math.max(0, window[0]), Math.min(window[1], timeline.tokens - 1)];
  if (to < from) return [];
  const size = Math.ceil((to - from + 1) / most);
  const bins = Array.from({ length: Math.ceil((to - from + 1) / size) }, (_, i): TokenBin => {
    const first = from + i * size;
    return {
      first,
      last: Math.min(to, first + size - 1),
      phase: 'PROMPT',
      batch: 0,
      ns: 0,
      ...zero(),
      slowest: first,
      slowest_ns: 0,
    };
  });
  const generated = new Float64Array(bins.length);
  const unknown = new Float64Array(bins.length);
  for (let seq = 0; seq < timeline.length; seq++) {
    const n = timeline.n_tokens[seq];
    const first = timeline.first_token[seq];
    if (n === 0 || first > to || first + n <= from) continue;
    if (context !== null && timeline.context[seq] !== context) continue;
    const [begin, end] = [Math.max(first, from), Math.min(first + n - 1, to)];
    const ns = timeline.dur_ns[seq] / n;
    for (let at = Math.floor((begin - from) / size); at <= Math.floor((end - from) / size); at++) {
      const bin = bins[at];
      const part = (Math.min(end, bin.last) - Math.max(begin, bin.first) + 1) / n;
      if (first <= bin.first && bin.last < first + n) bin.batch = n;
      bin.ns += timeline.dur_ns[seq] * part;
      for (const name of SUMS) bin[name] += timeline[name][seq] * part;
      generated[at] += timeline.n_generated[seq] * part;
      unknown[at] += timeline.n_unknown[seq] * part;
      if (ns > bin.slowest_ns) [bin.slowest, bin.slowest_ns] = [Math.max(begin, bin.first), ns];
    }
  }
  bins.forEach((bin, i) => {
    bin.phase = phaseOfMost({ tokens: bin.last - bin.first + 1, generated: generated[i], unknown: unknown[i] });
  });
  return bins;
}

/** Time and tokens by phase of the evaluations that have one of some tokens, or of all. Where an evaluation has tokens of
 * several phases its time is divided by their numbers. Of one context, if it is given. */
export function phaseSums(
  timeline: Timeline,
  tokens: Range | null,
  context: number | null = null,
): Record<Phase | 'UNKNOWN', PhaseSum> {
  const sums: Record<Phase | 'UNKNOWN', PhaseSum> = {
    PROMPT: { phase: 'PROMPT', tokens: 0, ns: 0 },
    GENERATE: { phase: 'GENERATE', tokens: 0, ns: 0 },
    UNKNOWN: { phase: null, tokens: 0, ns: 0 },
  };
  for (let seq = 0; seq < timeline.length; seq++) {
    const n = timeline.n_tokens[seq];
    const first = timeline.first_token[seq];
    if (tokens && (n === 0 || first > tokens[1] || first + n <= tokens[0])) continue;
    if (n === 0 || (context !== null && timeline.context[seq] !== context)) continue;
    const [generated, unknown] = [timeline.n_generated[seq], timeline.n_unknown[seq]];
    const of = { PROMPT: n - generated - unknown, GENERATE: generated, UNKNOWN: unknown };
    for (const phase of ['PROMPT', 'GENERATE', 'UNKNOWN'] as const) {
      sums[phase].tokens += of[phase];
      sums[phase].ns += (timeline.dur_ns[seq] * of[phase]) / n;
    }
  }
  return sums;
}

/** The value below which the part `q` of the values lies. */
export function quantile(values: number[], q: number): number {
  if (values.length === 0) return 0;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/** Where an axis ends so that a few outliers do not flatten all the rest: they are cut, and marked as such. */
export function ceiling(values: number[]): { top: number; cut: boolean } {
  const max = values.reduce((a, b) => Math.max(a, b), 0);
  const usual = quantile(values, 0.97);
  return usual > 0 && max > 3 * usual ? { top: 1.6 * usual, cut: true } : { top: max, cut: false };
}
