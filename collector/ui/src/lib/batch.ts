// Tokens of one batch are computed together. Every view gives what whole evaluations took ("in total"). Where these have
// several tokens, it also gives the even part of one token: "3.00 s in total, 76.9 ms per token (1/39)".
import { bytes, count, digits, time } from './format';
import { rangeText, type Range } from './names';
import type { Timeline } from './timeline';

/** What evaluations took besides time. */
export interface Sums {
  operators: number;
  disk_bytes: number;
  buffer_bytes: number;
  minor_faults: number;
  major_faults: number;
}

/** The evaluations that have one of some tokens: sums over all of their tokens. */
export interface Batch extends Sums {
  evaluations: number;
  tokens: number;
  /** Those of them that belong to an answer. */
  generated: number;
  /** Those of unknown phase. */
  unknown: number;
  ns: number;
}

export const SUMS = ['operators', 'disk_bytes', 'buffer_bytes', 'minor_faults', 'major_faults'] as const;

/**
 * What the evaluations of `tokens` took; of all evaluations if that is null. `graph`: only of those that ran it. `context`: only
 * of those that it computed.
 */
export function batchOf(
  timeline: Timeline,
  tokens: Range | null,
  graph?: number,
  context: number | null = null,
): Batch {
  const batch: Batch = { evaluations: 0, tokens: 0, generated: 0, unknown: 0, ns: 0, ...zero() };
  for (let seq = 0; seq < timeline.length; seq++) {
    const [first, n] = [timeline.first_token[seq], timeline.n_tokens[seq]];
    if (graph !== undefined && timeline.graph[seq] !== graph) continue;
    if (context !== null && timeline.context[seq] !== context) continue;
    if (tokens && (n === 0 || first > tokens[1] || first + n <= tokens[0])) continue;
    batch.evaluations++;
    batch.tokens += n;
    batch.generated += timeline.n_generated[seq];
    batch.unknown += timeline.n_unknown[seq];
    batch.ns += timeline.dur_ns[seq];
    for (const name of SUMS) batch[name] += timeline[name][seq];
  }
  return batch;
}

export const zero = (): Sums => ({ operators: 0, disk_bytes: 0, buffer_bytes: 0, minor_faults: 0, major_faults: 0 });

/** An amount of `tokens` tokens together: `3.00 s in total, 76.9 ms per token (1/39)`; of one token just `76.9 ms`. */
export function inTotal(
  amount: number | null | undefined,
  tokens: number,
  text: (amount: number | null | undefined) => string,
): string {
  if (tokens < 2 || !amount) return text(amount);
  return `${text(amount)} in total, ${text(amount / tokens)} per token (1/${count(tokens)})`;
}

/** A time in these words. */
export const timeInTotal = (ns: number | null | undefined, tokens: number) => inTotal(ns || null, tokens, time);
/** Bytes in these words. */
export const bytesInTotal = (n: number | null | undefined, tokens: number) =>
  inTotal(n, tokens, (part) => bytes(part && Math.round(part)));
/** A count in these words: whole numbers as they are, parts with three digits. */
export const countInTotal = (n: number | null | undefined, tokens: number) =>
  inTotal(n, tokens, (part) =>
    part === null || part === undefined ? '–' : Number.isInteger(part) ? count(part) : digits(part),
  );

/** `in a batch of 39`, or `in 13 evaluations of 51 tokens`; empty where every selected token was computed alone. */
export function batchText({ evaluations, tokens }: Pick<Batch, 'evaluations' | 'tokens'>): string {
  if (tokens <= evaluations) return '';
  if (evaluations === 1) return `in a batch of ${count(tokens)}`;
  return `in ${count(evaluations)} evaluations of ${count(tokens)} tokens`;
}

/** `token 7, in a batch of 39`, or `whole run`; `context 1` where it is the whole run of one of several contexts. */
export function scopeOf(timeline: Timeline, tokens: Range | null, context: number | null = null): string {
  if (!tokens) return context === null ? 'whole run' : `context ${context}`;
  const named = `${tokens[0] === tokens[1] ? 'token' : 'tokens'} ${rangeText(tokens)}`;
  const batch = batchText(batchOf(timeline, tokens, undefined, context));
  return batch ? `${named}, ${batch}` : named;
}
