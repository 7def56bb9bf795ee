// Why a token is slow: it beside the median of its phase, and the kinds of operators that differ most.
import { batchText, timeInTotal } from '../../lib/batch';
import { time } from '../../lib/format';
import type { Range } from '../../lib/selection.svelte';
import type { Timeline } from '../../lib/timeline';
import type { EvaluationSummary, Phase } from '../../lib/types';
import { perToken, phaseOf } from './tokens';

/** How many evaluations around the median stand for a usual one. */
const USUAL = 5;
/** Differences below this part of the usual time are no difference. */
const SAME = 0.05;

/** The usual token of a phase. */
export interface Usual {
  phase: Phase | null;
  /** Median time of a token. */
  ns: number;
  /** Median of the page faults of a token. */
  faults: number;
  evaluations: number;
  /** Evaluations whose times are next to the median. */
  seqs: number[];
}

/** A kind of operator, or what is outside of all: per token, in the slow one and in the usual one. */
export interface Part {
  op: string | null;
  ns: number;
  usual_ns: number;
}

function middle(values: Iterable<number>): number {
  const sorted = Float64Array.from(values).sort();
  const at = sorted.length >> 1;
  return sorted.length === 0 ? 0 : sorted.length % 2 ? sorted[at] : (sorted[at - 1] + sorted[at]) / 2;
}

const faults = (timeline: Timeline, seq: number) =>
  (timeline.minor_faults[seq] + timeline.major_faults[seq]) / Math.max(1, timeline.n_tokens[seq]);

/** What is usual for a phase; in one context, if it is given. */
export function usual(timeline: Timeline, phase: Phase | null, context: number | null = null): Usual | null {
  const seqs: number[] = [];
  for (let seq = 0; seq < timeline.length; seq++) {
    if (context !== null && timeline.context[seq] !== context) continue;
    if (timeline.n_tokens[seq] > 0 && phaseOf(timeline, seq) === phase) seqs.push(seq);
  }
  if (seqs.length === 0) return null;
  const ns = middle(seqs.map((seq) => perToken(timeline, seq)));
  const away = (seq: number) => Math.abs(perToken(timeline, seq) - ns);
  const nearest: number[] = [];
  for (const seq of seqs) {
    if (nearest.length === USUAL && away(seq) >= away(nearest[USUAL - 1])) continue;
    const at = nearest.findIndex((other) => away(other) > away(seq));
    nearest.splice(at < 0 ? nearest.length : at, 0, seq);
    nearest.length = Math.min(nearest.length, USUAL);
  }
  return {
    phase,
    ns,
    faults: middle(seqs.map((seq) => faults(timeline, seq))),
    evaluations: seqs.length,
    seqs: nearest,
  };
}

/** The evaluation of the slowest token of a range; of the answer, or of the prompt without one, if none is given; and of one context, if that
 * is given. */
export function slowest(timeline: Timeline, tokens: Range | null, context: number | null = null): number | null {
  let found: number | null = null;
  const rank = (seq: number) =>
    perToken(timeline, seq) + (tokens === null && phaseOf(timeline, seq) === 'GENERATE' ? 1e18 : 0);
  for (let seq = 0; seq < timeline.length; seq++) {
    const [first, n] = [timeline.first_token[seq], timeline.n_tokens[seq]];
    if (n === 0 || (tokens && (first > tokens[1] || first + n <= tokens[0]))) continue;
    if (context !== null && timeline.context[seq] !== context) continue;
    if (found === null || rank(seq) > rank(found)) found = seq;
  }
  return found;
}

type Ops = Pick<EvaluationSummary, 'dur_ns' | 'ops'> & { tokens: unknown[] };

function parts(evaluation: Ops): Map<string | null, number> {
  const n = Math.max(1, evaluation.tokens.length);
  const ns = new Map<string | null, number>(evaluation.ops.map((sum) => [sum.op, sum.ns / n]));
  const inside = evaluation.ops.reduce((all, sum) => all + sum.ns, 0);
  ns.set(null, Math.max(0, evaluation.dur_ns - inside) / n);
  return ns;
}

/** Whether its operators have times. */
export function timed(evaluation: Ops): boolean {
  return evaluation.ops.some((sum) => sum.ns > 0);
}

/** Where the time went, the largest difference from the median of the usual ones first. */
export function differences(evaluation: Ops, usuals: Ops[]): Part[] {
  const here = parts(evaluation);
  const there = usuals.map(parts);
  const ops = new Set([here, ...there].flatMap((sums) => [...sums.keys()]));
  return [...ops]
    .map((op) => ({ op, ns: here.get(op) ?? 0, usual_ns: middle(there.map((sums) => sums.get(op) ?? 0)) }))
    .sort((a, b) => Math.abs(b.ns - b.usual_ns) - Math.abs(a.ns - a.usual_ns));
}

/** `GENERATE token 7 took 90.1 ms: 2.0 times the median of GENERATE (45.1 ms)`. */
export function verdict(timeline: Timeline, seq: number, token: number, usual: Usual): string {
  const ns = perToken(timeline, seq);
  const difference = ns - usual.ns;
  const n = timeline.n_tokens[seq];
  const batch = batchText({ evaluations: 1, tokens: n });
  const of = usual.phase === null ? 'unknown phase' : usual.phase;
  const named = `${usual.phase === null ? 'token of unknown phase' : `${usual.phase} token`} ${token}${batch ? `, ${batch},` : ''}`;
  const subject = `${named} took ${timeInTotal(timeline.dur_ns[seq], n)}`;
  const median = `the median of ${of} (${time(usual.ns)})`;
  if (usual.evaluations < 2)
    return `${subject}. It is the only evaluation of its phase: there is none to compare with.`;
  if (Math.abs(difference) <= SAME * usual.ns) return `${subject}: as usual, ${median} is within 5 % of it.`;
  const times = ns / Math.max(1, usual.ns);
  const size = times >= 2 ? `${times.toFixed(1)} times` : `${((100 * Math.abs(difference)) / usual.ns).toFixed(0)} %`;
  return times >= 2
    ? `${subject}: ${size} ${median}.`
    : `${subject}: ${size} ${difference > 0 ? 'slower' : 'faster'} than ${median}.`;
}

/** Whether a token's time is another than usual. */
export function differs(ns: number, usual_ns: number): boolean {
  return Math.abs(ns - usual_ns) > SAME * usual_ns;
}

/** The parts that explain a difference: those that go its way, the largest three. */
export function reasons(parts: Part[], slower: boolean): Part[] {
  const total = parts.reduce((sum, part) => sum + part.ns - part.usual_ns, 0);
  return parts
    .filter((part) => (slower ? part.ns > part.usual_ns : part.ns < part.usual_ns))
    .filter((part) => Math.abs(part.ns - part.usual_ns) >= 0.03 * Math.abs(total))
    .slice(0, 3);
}
