// The leaves of a session's graphs as a table: in any order, and only those that a search finds.
import type { Leaf } from '../../lib/types';

export const COLUMNS = [
  'name',
  'context',
  'meaning',
  'type',
  'shape',
  'bytes',
  'memory',
  'used by',
  'accesses',
] as const;
export type Column = (typeof COLUMNS)[number];

/** `0..3, 7`, from ascending numbers. */
export function ranges(numbers: number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < numbers.length;) {
    let end = i;
    while (end + 1 < numbers.length && numbers[end + 1] === numbers[end] + 1) end++;
    parts.push(end > i ? `${numbers[i]}..${numbers[end]}` : String(numbers[i]));
    i = end + 1;
  }
  return parts.join(', ');
}

/** `60 ROPE in layers 0..29`. */
export function usedBy(leaf: Leaf): string {
  return leaf.used_by
    .map(({ op, layers, operators }) => {
      const where = layers.length ? ` in layer${layers.length > 1 ? 's' : ''} ${ranges(layers)}` : '';
      return `${operators > 1 ? `${operators} ` : ''}${op}${where}`;
    })
    .join('; ');
}

/** The layer whose operators alone use a leaf; null if none, or those of several do. */
export function layerOf(leaf: Leaf): number | null {
  const layers = new Set(leaf.used_by.flatMap((use) => use.layers));
  return layers.size === 1 ? [...layers][0] : null;
}

/** The contexts that have it, ascending: several share the weights of their model. */
export const contextsOf = (leaf: Leaf): number[] => leaf.contexts ?? (leaf.context === undefined ? [] : [leaf.context]);

const elements = (leaf: Leaf) => leaf.ne.reduce((product, n) => product * n, 1);
const operators = (leaf: Leaf) => leaf.used_by.reduce((sum, use) => sum + use.operators, 0);

/** Names in the order that people count in: `blk.2` before `blk.10`. */
const byName = new Intl.Collator('en', { numeric: true }).compare;

const ORDERS: Record<Column, (a: Leaf, b: Leaf) => number> = {
  name: (a, b) => byName(a.name, b.name),
  context: (a, b) => (contextsOf(a)[0] ?? -1) - (contextsOf(b)[0] ?? -1) || contextsOf(a).length - contextsOf(b).length,
  meaning: (a, b) => byName(a.meaning, b.meaning),
  type: (a, b) => byName(a.type, b.type),
  shape: (a, b) => elements(a) - elements(b),
  bytes: (a, b) => a.bytes - b.bytes,
  memory: (a, b) => byName(a.memory, b.memory) || (a.offset ?? 0) - (b.offset ?? 0),
  'used by': (a, b) => operators(a) - operators(b),
  accesses: (a, b) => a.accesses - b.accesses,
};

/** The leaves that have all words of `search` in name, meaning, type or memory, in order. */
export function arrange(leaves: Leaf[], search: string, column: Column, down: boolean): Leaf[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (leaf: Leaf) => {
    const text = `${leaf.name} ${leaf.meaning} ${leaf.type} ${leaf.memory}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const order = ORDERS[column];
  return leaves.filter(has).sort((a, b) => (down ? order(b, a) : order(a, b)) || byName(a.name, b.name));
}
