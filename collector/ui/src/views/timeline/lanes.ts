// What the timeline derives from the evaluations once and then only extends: a row for each context, each evaluation's
// place on the axis of tokens, and sums that answer how many tokens a second a range made.
import type { Range } from '../../lib/selection.svelte';
import type { Timeline } from '../../lib/timeline';

/** Rows on the screen; contexts that come later share the last one. */
export const MOST_ROWS = 6;

/** What an evaluation is drawn as. */
export type Kind = 'prompt' | 'generate' | 'unknown' | 'other';

/** An evaluation with at least one generated token is GENERATE, else one with a token of unknown phase is unknown; without
 * any token it is nothing of these. */
export function kindOf(t: Timeline, seq: number): Kind {
  if (t.n_tokens[seq] === 0) return 'other';
  if (t.n_generated[seq] > 0) return 'generate';
  return t.n_unknown[seq] > 0 ? 'unknown' : 'prompt';
}

/** How much of an evaluation nobody knows the time of: the part of its operators that have none, 0..1. */
export function untimedShare(t: Timeline, seq: number): number {
  return t.untimed[seq] / Math.max(1, t.operators[seq]);
}

/** Time of an evaluation for each of its tokens, nanoseconds; all of it if there is none. */
export function perToken(t: Timeline, seq: number): number {
  return t.dur_ns[seq] / Math.max(1, t.n_tokens[seq]);
}

/** Evaluations of one context, in the order of their begins. */
export interface LaneRow {
  contexts: number[];
  seqs: Uint32Array;
  length: number;
}

/** Tokens and the time they took, of one phase. */
export interface Sum {
  tokens: number;
  ns: number;
}

/** Sums by phase. */
export type PhaseSums = Record<'prompt' | 'generate' | 'unknown', Sum>;

const PHASES = ['prompt', 'generate', 'unknown'] as const;
const columns = () => ({ tokens: new Float64Array(1), ns: new Float64Array(1) });

export class Lanes {
  readonly rows: LaneRow[] = [];
  /** How many evaluations are taken in. */
  length = 0;
  /** Whether some of their operators have no time. */
  untimed = false;
  /** Begin of each evaluation where every token is as wide as another; one more for the end of the last. */
  position = new Float64Array(1);
  /** Sums of all evaluations before. */
  private before = { prompt: columns(), generate: columns(), unknown: columns() };
  private rowOf = new Map<number, LaneRow>();

  /** Takes in what is new; returns whether there was something. */
  update(t: Timeline): boolean {
    if (t.length === this.length) return false;
    this.reserve(t.length + 1);
    for (let seq = this.length; seq < t.length; seq++) {
      this.place(t, seq);
      this.untimed ||= t.untimed[seq] > 0;
      const [n, generate, unknown] = [t.n_tokens[seq], t.n_generated[seq], t.n_unknown[seq]];
      const of = { prompt: n - generate - unknown, generate, unknown };
      this.position[seq + 1] = this.position[seq] + Math.max(1, n);
      for (const phase of PHASES) {
        const { tokens, ns } = this.before[phase];
        tokens[seq + 1] = tokens[seq] + of[phase];
        ns[seq + 1] = ns[seq] + (n > 0 ? (t.dur_ns[seq] * of[phase]) / n : 0);
      }
    }
    this.length = t.length;
    return true;
  }

  /** Tokens and time by phase of some tokens, or of all. An evaluation that is in it in part counts in part. */
  sums(t: Timeline, tokens: Range | null): PhaseSums {
    const sum = (from: number, to: number): PhaseSums => {
      const of = (phase: keyof PhaseSums): Sum => {
        const { tokens, ns } = this.before[phase];
        return { tokens: tokens[to] - tokens[from], ns: ns[to] - ns[from] };
      };
      return { prompt: of('prompt'), generate: of('generate'), unknown: of('unknown') };
    };
    if (!tokens) return sum(0, this.length);
    const first = t.seqOfToken(tokens[0]);
    const last = t.seqOfToken(Math.min(tokens[1], t.tokens - 1));
    if (first === undefined || last === undefined || last >= this.length) return sum(0, 0);
    const total = sum(first, last + 1);
    const leave = (seq: number, n: number) => {
      const [all, share] = [sum(seq, seq + 1), n / Math.max(1, t.n_tokens[seq])];
      for (const phase of PHASES) {
        total[phase].tokens -= all[phase].tokens * share;
        total[phase].ns -= all[phase].ns * share;
      }
    };
    leave(first, tokens[0] - t.first_token[first]);
    leave(last, Math.max(0, t.first_token[last] + t.n_tokens[last] - 1 - tokens[1]));
    return total;
  }

  private place(t: Timeline, seq: number) {
    const context = t.context[seq];
    let row = this.rowOf.get(context);
    if (!row) {
      if (this.rows.length < MOST_ROWS) this.rows.push({ contexts: [], seqs: new Uint32Array(64), length: 0 });
      row = this.rows[this.rows.length - 1];
      row.contexts.push(context);
      this.rowOf.set(context, row);
    }
    if (row.length === row.seqs.length) {
      const grown = new Uint32Array(row.length * 2);
      grown.set(row.seqs);
      row.seqs = grown;
    }
    // They arrive in the order of their begins, or nearly so.
    let at = row.length++;
    while (at > 0 && t.start_ns[row.seqs[at - 1]] > t.start_ns[seq]) row.seqs[at] = row.seqs[--at];
    row.seqs[at] = seq;
  }

  private reserve(length: number) {
    if (length <= this.position.length) return;
    const capacity = Math.max(length, this.position.length * 2);
    const larger = (old: Float64Array) => {
      const grown = new Float64Array(capacity);
      grown.set(old.subarray(0, this.length + 1));
      return grown;
    };
    this.position = larger(this.position);
    for (const of of Object.values(this.before)) {
      of.tokens = larger(of.tokens);
      of.ns = larger(of.ns);
    }
  }
}
