// Models side by side: the facts of each in a table with one line a fact.
import { bytes, count } from '../../../lib/format';
import { attentionOf, span } from '../overview/facts';
import type { Inspection } from '../types';
import { bits, metric, parameters, tokens } from '../words';

export interface Line {
  name: string;
  /** One value a model. */
  values: string[];
  /** The same as numbers, where they are some. */
  numbers: (number | null)[] | null;
}

const FACTS: [name: string, text: (m: Inspection) => string, number?: (m: Inspection) => number | null][] = [
  ['architecture', (m) => m.architecture.name],
  ['parameters', (m) => parameters(m.parameters.total), (m) => m.parameters.total],
  ['active a token', (m) => parameters(m.parameters.active), (m) => m.parameters.active],
  ['size', (m) => bytes(m.files.bytes), (m) => m.files.bytes],
  ['bits per weight', (m) => bits(m.memory.weights.bits_per_weight), (m) => m.memory.weights.bits_per_weight],
  ['layers', (m) => count(m.architecture.layers.length), (m) => m.architecture.layers.length],
  ['hidden size', (m) => count(m.architecture.hidden), (m) => m.architecture.hidden],
  [
    'feed-forward size',
    (m) => span(m.architecture.layers.flatMap((l) => (l.feed_forward?.size ? [l.feed_forward.size] : []))),
  ],
  [
    'heads',
    (m) => {
      const found = attentionOf(m.architecture);
      if (!found) return '–';
      const { heads, kv_heads, kind } = found.attention;
      return `${count(heads)} Q, ${count(kv_heads)} KV (${kind.toUpperCase()})`;
    },
  ],
  [
    'experts',
    (m) => {
      const of = m.architecture.layers.find((l) => l.feed_forward?.experts)?.feed_forward?.experts;
      return of ? `${of.used} of ${of.count}` : '–';
    },
  ],
  ['context', (m) => (m.architecture.context ? tokens(m.architecture.context) : '–'), (m) => m.architecture.context],
  ['vocabulary', (m) => count(m.architecture.vocabulary), (m) => m.architecture.vocabulary],
  ['tied embeddings', (m) => (m.architecture.tied_embeddings ? 'yes' : 'no')],
  [
    'KV cache',
    (m) => (m.memory.caches ? `${bytes(m.memory.caches.bytes)} at ${tokens(m.memory.context)}` : '–'),
    (m) => m.memory.caches?.bytes ?? null,
  ],
  ['memory in all', (m) => bytes(m.memory.total_bytes), (m) => m.memory.total_bytes],
  [
    'operations a token',
    (m) => (m.costs.generate[0] ? metric(m.costs.generate[0].flops, 'FLOP') : '–'),
    (m) => m.costs.generate[0]?.flops ?? null,
  ],
  [
    'bytes a token',
    (m) => (m.costs.generate[0] ? bytes(Math.round(m.costs.generate[0].bytes)) : '–'),
    (m) => m.costs.generate[0]?.bytes ?? null,
  ],
  ['tokenizer', (m) => m.tokenizer?.model ?? '–'],
];

export function linesOf(models: Inspection[]): Line[] {
  return FACTS.map(([name, text, number]) => ({
    name,
    values: models.map(text),
    numbers: number ? models.map(number) : null,
  }));
}

/** How a value stands to that of the first model: `× 1.07`; null where that says nothing. */
export function ratio(line: Line, i: number): string | null {
  const [first, own] = [line.numbers?.[0], line.numbers?.[i]];
  if (i === 0 || !first || !own || first === own) return null;
  const by = own / first;
  return `× ${by >= 100 ? by.toFixed(0) : by.toPrecision(3)}`;
}
