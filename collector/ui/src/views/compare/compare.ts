// Two sessions side by side: what is compared, in which order, and what the numbers say in words.
import { digits, time } from '../../lib/format';
import type { Cell } from '../../lib/save';
import { commandLine } from '../info/answer';
import type { ComparedRow, ComparedSession, ComparedSide, Comparison } from '../../lib/types';

export const BYS = ['op', 'layer', 'tensor'] as const;
export type By = (typeof BYS)[number];
/** Phases that may be compared; `all` is both. */
export const PHASES = ['all', 'generate', 'prompt', 'unknown'] as const;
export type PhaseChoice = (typeof PHASES)[number];
export const SORTS = ['key', 'count_a', 'a', 'count_b', 'b', 'difference', 'ratio'] as const;
export type Sort = (typeof SORTS)[number];

/** What the view shows; all tokens by operator, the greatest difference first, if nothing else is said. */
export interface What {
  by: By;
  phase: PhaseChoice;
  sort: Sort | null;
  descending: boolean;
}

const includes = <T extends string>(list: readonly T[], word: string): word is T =>
  (list as readonly string[]).includes(word);

/** Reads what the address says: `layer prompt sort:-ratio`. What makes no sense is passed over. */
export function parseWhat(text: string | null): What {
  const what: What = { by: 'op', phase: 'all', sort: null, descending: false };
  for (const word of (text ?? '').split(/\s+/)) {
    const sort = /^sort:(-?)(.*)$/.exec(word);
    if (includes(BYS, word)) what.by = word;
    else if (includes(PHASES, word)) what.phase = word;
    else if (sort && includes(SORTS, sort[2])) Object.assign(what, { sort: sort[2], descending: sort[1] === '-' });
  }
  return what;
}

/** The same for the address; null if it is what is shown anyway. */
export function formatWhat({ by, phase, sort, descending }: What): string | null {
  const words = [by === 'op' ? '' : by, phase === 'all' ? '' : phase];
  if (sort) words.push(`sort:${descending ? '-' : ''}${sort}`);
  return words.filter((word) => word !== '').join(' ') || null;
}

/** A click on a header: numbers from the greatest, names from A; then the reverse; then the server's order. */
export function nextSort(what: What, column: Sort): What {
  const first = column !== 'key';
  if (what.sort !== column) return { ...what, sort: column, descending: first };
  if (what.descending === first) return { ...what, descending: !first };
  return { ...what, sort: null, descending: false };
}

function value(row: ComparedRow, sort: Sort): number | null {
  if (sort === 'count_a') return row.a?.count ?? null;
  if (sort === 'count_b') return row.b?.count ?? null;
  if (sort === 'a' || sort === 'b') return row[sort]?.ns_per_token ?? null;
  return sort === 'ratio' ? row.ratio : row.difference_ns_per_token;
}

/** The rows in an order; those without the number stay behind. */
export function sorted(rows: readonly ComparedRow[], { sort, descending }: What): readonly ComparedRow[] {
  if (sort === null) return rows;
  const sign = descending ? -1 : 1;
  if (sort === 'key') {
    const numeric = new Intl.Collator('en', { numeric: true });
    return [...rows].sort((x, y) => sign * numeric.compare(x.key, y.key));
  }
  return [...rows].sort((x, y) => {
    const [a, b] = [value(x, sort), value(y, sort)];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return sign * (a - b);
  });
}

/** One side of all rows together; rows without a time add none, and there is none if none has one. */
function sum(sides: (ComparedSide | null)[]): ComparedSide {
  const there = sides.filter((side) => side !== null);
  const add = (values: (number | null)[]) => {
    const known = values.filter((value) => value !== null);
    return known.length || values.length === 0 ? known.reduce((all, value) => all + value, 0) : null;
  };
  return {
    count: there.reduce((all, side) => all + side.count, 0),
    ns: add(there.map((side) => side.ns)),
    ns_per_token: add(there.map((side) => side.ns_per_token)),
    bytes: there.reduce((all, side) => all + side.bytes, 0),
  };
}

/** The rows without the times of a side whose operators were not timed. */
export function withoutTimes(rows: readonly ComparedRow[], a: boolean, b: boolean): readonly ComparedRow[] {
  if (!a && !b) return rows;
  const none = (side: ComparedSide | null) => side && { ...side, ns: null, ns_per_token: null };
  return rows.map((row) => ({
    ...row,
    a: a ? none(row.a) : row.a,
    b: b ? none(row.b) : row.b,
    difference_ns_per_token: null,
    ratio: null,
  }));
}

/** What says the same in a shell. */
export function shellCommand({ a, b }: Pick<Comparison, 'a' | 'b'>, { by, phase }: What): string {
  const of = (option: string, { context, other_contexts }: ComparedSession) =>
    other_contexts?.length && context !== null ? [option, String(context)] : [];
  return commandLine([
    ...['ggscope', 'diff', a.trace, b.trace, '--by', by],
    ...(phase === 'all' ? [] : ['--phase', phase]),
    ...of('--context', a),
    ...of('--against-context', b),
  ]);
}

/** `context 1, `, of a session with several. */
export function contextText({ context, other_contexts }: ComparedSession): string {
  return other_contexts?.length && context !== null ? `context ${context}, ` : '';
}

/** All rows together. */
export function total(rows: readonly ComparedRow[]): ComparedRow {
  const [a, b] = [sum(rows.map((row) => row.a)), sum(rows.map((row) => row.b))];
  const [of_a, of_b] = [a.ns_per_token, b.ns_per_token];
  const both = of_a !== null && of_b !== null;
  return {
    key: 'all together',
    a,
    b,
    difference_ns_per_token: both ? of_b - of_a : null,
    ratio: both && of_a > 0 ? of_b / of_a : null,
  };
}

/** `1.24×`. */
export function times(ratio: number | null): string {
  return ratio === null ? '–' : `${digits(ratio)}×`;
}

/** A difference with its sign: `+1.20 ms`. */
export function signed(ns: number | null): string {
  if (ns === null) return '–';
  const sign = ns > 0 ? '+' : ns < 0 ? '−' : '';
  return Math.abs(ns) < 0.5 ? '0' : `${sign}${time(Math.abs(ns))}`;
}

const TOKENS: Record<PhaseChoice, string> = {
  generate: 'generated token',
  prompt: 'prompt token',
  unknown: 'token of unknown phase',
  all: 'token',
};

/** What the comparison says first: `B takes 1.24× the time of A a generated token`. */
export function headline({ a, b }: Comparison, phase: PhaseChoice): string {
  const token = TOKENS[phase];
  if (a.tokens === 0 && b.tokens === 0) return `Neither A nor B has a ${token}`;
  const none = `no ${token.replace('token', 'tokens')}`;
  if (a.tokens === 0 || a.ns_per_token === null) return `A has ${none}`;
  if (b.tokens === 0 || b.ns_per_token === null) return `B has ${none}`;
  if (a.ns_per_token === 0) return `A takes no time a ${token}`;
  const ratio = b.ns_per_token / a.ns_per_token;
  if (Math.abs(ratio - 1) < 0.005) return `A and B take the same time a ${token}`;
  return `B takes ${times(ratio)} the time of A a ${token}`;
}

/** Where most of the difference comes from, in words; nothing if no row tells. */
export function greatest(rows: readonly ComparedRow[]): string | null {
  const size = (row: ComparedRow) => Math.abs(row.difference_ns_per_token ?? 0);
  const row = rows.reduce<ComparedRow | null>((most, row) => (size(row) > (most ? size(most) : 0) ? row : most), null);
  return row && size(row) >= 1 ? `most of all ${row.key}: ${signed(row.difference_ns_per_token)}` : null;
}

/** Which side a row lacks. */
export function only(row: ComparedRow): 'A' | 'B' | null {
  return row.a === null ? 'B' : row.b === null ? 'A' : null;
}

/** The row as one of a CSV file. */
export function record(row: ComparedRow): Record<string, Cell> {
  return {
    key: row.key,
    name: row.name,
    op: row.op,
    layer: row.layer,
    count_a: row.a?.count,
    ns_a: row.a?.ns,
    ns_per_token_a: row.a?.ns_per_token,
    bytes_a: row.a?.bytes,
    count_b: row.b?.count,
    ns_b: row.b?.ns,
    ns_per_token_b: row.b?.ns_per_token,
    bytes_b: row.b?.bytes,
    difference_ns_per_token: row.difference_ns_per_token,
    ratio: row.ratio,
  };
}
