// What is captured, as the server says it and as the form has it: texts that somebody types, checked by the server alone,
// besides the budget, which has a unit.
import type { Losses } from '../../lib/losses';

export interface CaptureOf {
  names: string[];
  /** `0-3,7`; empty is all. */
  layers: string;
  heads: string;
  tokens: string;
  every: number;
  statistics: boolean;
  as_f16: boolean;
  /** Bytes a second. */
  budget: number | null;
}

export interface CaptureState {
  now: CaptureOf;
  /** The first evaluation of which that is so. */
  from_eval: number;
  /** What the process has not taken yet. */
  next: CaptureOf | null;
  can_change: boolean;
  value_bytes: number;
  left_out_evaluations: number;
  left_out_bytes: number;
  dropped_records: number;
  dropped_causes: Losses | null;
  /** The newest token that values have come of, and how many came after it. */
  behind: { token: number; tokens: number } | null;
}

export interface CaptureEstimate {
  bytes: number | null;
  sets: { name: string; bytes: number }[];
  per_key: number;
  globs: boolean;
  unmatched: string[];
}

export const SETS = {
  attention: 'queries, and the rows of the K cache: what every head looked at',
  values: 'rows of the V cache: what attention weighs',
  layers: 'hidden states in and out of every block, and what norms take and give',
  logits: 'what the output matrix gives for every token of the vocabulary',
  experts: 'what routers found of experts, and with what weight they chose',
} as const;
export type SetName = keyof typeof SETS;

/** Bytes of a MiB. */
const MIB = 1 << 20;

export interface Form {
  sets: SetName[];
  /** Globs of tensors' names, with commas between. */
  globs: string;
  layers: string;
  heads: string;
  tokens: string;
  every: number;
  statistics: boolean;
  asF16: boolean;
  /** MiB a second; null for no limit. */
  budget: number | null;
}

export const isSet = (name: string): name is SetName => name in SETS;

export function formOf(capture: CaptureOf): Form {
  const { names, layers, heads, tokens, every, statistics, as_f16: asF16, budget } = capture;
  return {
    sets: names.filter(isSet),
    globs: names.filter((name) => !isSet(name)).join(', '),
    layers,
    heads,
    tokens,
    every: Math.max(1, every),
    statistics,
    asF16,
    budget: budget === null ? null : budget / MIB,
  };
}

/** What the server is asked for. Limits that belong to nothing that is chosen are left out. */
export function captureOf(form: Form): CaptureOf {
  const globs = form.globs.split(/[\s,]+/).filter(Boolean);
  const names = [...form.sets, ...globs];
  return {
    names,
    layers: form.layers.trim(),
    heads: form.sets.includes('attention') ? form.heads.trim() : '',
    tokens: form.tokens.trim(),
    every: Math.max(1, Math.round(form.every) || 1),
    statistics: form.statistics,
    as_f16: form.asF16,
    budget: form.budget ? Math.max(1, Math.round(form.budget * MIB)) : null,
  };
}

/** In a few words: `attention, layers of layers 0-3, every 8th token`. */
export function captureText(capture: CaptureOf): string {
  if (capture.names.length === 0) return 'nothing';
  const words = [capture.names.join(', ')];
  if (capture.layers) words.push(`layers ${capture.layers}`);
  if (capture.heads) words.push(`heads ${capture.heads}`);
  if (capture.tokens) words.push(`tokens ${capture.tokens}`);
  if (capture.every > 1) words.push(`one of ${capture.every} tokens of an answer`);
  if (capture.statistics) words.push('statistics');
  if (capture.as_f16) words.push('as f16');
  if (capture.budget !== null) words.push(`at most ${+(capture.budget / MIB).toFixed(2)} MiB/s`);
  return words.join(' · ');
}

/** The same capture with these sets too. */
export function withSets(capture: CaptureOf, sets: readonly SetName[]): CaptureOf {
  return { ...capture, names: [...new Set([...capture.names, ...sets])] };
}

/** Whether neither what is captured nor what will be has any of these sets, or a tensor that might belong to them. */
export function bringsNone({ now, next }: Pick<CaptureState, 'now' | 'next'>, sets: readonly SetName[]): boolean {
  const names = [...now.names, ...(next?.names ?? [])];
  return !names.some((name) => !isSet(name) || sets.includes(name));
}

export function isSame(a: CaptureOf, b: CaptureOf): boolean {
  return JSON.stringify({ ...a, names: [...a.names].sort() }) === JSON.stringify({ ...b, names: [...b.names].sort() });
}
