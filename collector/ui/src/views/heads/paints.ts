// What a head's cell can be coloured by: each measure with its name, its scale and what it means in plain words.
import type { Head, Heads, KindName } from './types';

export interface Paint {
  title: string;
  /** Its name in a narrow column. */
  short: string;
  value: (head: Head) => number | null;
  /** The value that the scale of colours ends with. */
  most: (all: Heads) => number;
  text: (value: number) => string;
  tex: string;
  words: string;
}

const one = () => 1;
const three = (value: number) => value.toFixed(3);

export const MEASURES = {
  entropy_normalized: {
    title: 'entropy',
    short: 'entropy',
    value: (head) => head.entropy_normalized,
    most: one,
    text: three,
    tex: '\\frac{-\\sum_k w_k \\ln w_k}{\\ln n}',
    words: 'How spread its attention is: 1 looks at all tokens alike, 0 at a single one.',
  },
  distance: {
    title: 'mean distance',
    short: 'far',
    value: (head) => head.distance,
    most: (all) => Math.max(1e-9, ...all.uniform.map((u) => 2 * (u.distance ?? 0))),
    text: (value) => `${value.toFixed(1)} tokens`,
    tex: '\\sum_k w_k \\, |t - k|',
    words:
      'How many tokens back what it looks at is. Twice as far as a head that looks everywhere alike is the brightest.',
  },
  first: {
    title: 'on the first token',
    short: 'first',
    value: (head) => head.first,
    most: one,
    text: three,
    tex: 'w_0',
    words: 'Weight on the first token. A head with nothing to look for parks its attention there: an attention sink.',
  },
  previous: {
    title: 'on the token before',
    short: 'before',
    value: (head) => head.previous,
    most: one,
    text: three,
    tex: 'w_{t-1}',
    words: 'Weight on the token just before. Induction heads need such a head in a layer below.',
  },
  self: {
    title: 'on itself',
    short: 'self',
    value: (head) => head.self,
    most: one,
    text: three,
    tex: 'w_t',
    words: 'Weight on the token itself.',
  },
  induction: {
    title: 'induction score',
    short: 'induct.',
    value: (head) => head.induction,
    most: one,
    text: three,
    tex: '\\sum_{k<t,\\; x_{k-1} = x_t} w_k',
    words:
      'Weight on tokens that followed an earlier occurrence of the same token: it looks up what came next the last time. Over rows that have such tokens (Olsson et al., 2022).',
  },
  duplicate: {
    title: 'on the same token',
    short: 'same',
    value: (head) => head.duplicate,
    most: one,
    text: three,
    tex: '\\sum_{k<t,\\; x_k = x_t} w_k',
    words: 'Weight on earlier occurrences of the same token, over rows that have some.',
  },
  punctuation: {
    title: 'on punctuation',
    short: 'punct.',
    value: (head) => head.punctuation,
    most: one,
    text: three,
    tex: '\\sum_{x_k \\in \\text{punctuation}} w_k',
    words: 'Weight on tokens without letters and digits, over rows that see some.',
  },
  pagerank_in_layer: {
    title: 'read from',
    short: 'read',
    value: (head) => head.pagerank_in_layer,
    most: () => 2,
    text: (value) => `${value.toFixed(2)} ×`,
    tex: '\\frac{\\operatorname{PageRank}}{\\text{mean of its layer}}',
    words:
      'How much heads above read of what this one brought to its tokens: its PageRank in the graph of heads, over the mean of its layer. Twice the mean is the brightest.',
  },
} satisfies Record<string, Paint>;

export type Measure = keyof typeof MEASURES;
export const PAINTS = ['kind', 'cluster', ...(Object.keys(MEASURES) as Measure[])] as const;
export type PaintName = (typeof PAINTS)[number];

export const KINDS: Record<KindName, { letter: string; color: string; words: string }> = {
  induction: { letter: 'I', color: '#cc6677', words: 'looks at what followed the same token earlier' },
  'previous-token': { letter: 'P', color: '#ddcc77', words: 'looks at the token before' },
  sink: { letter: 'S', color: '#6699cc', words: 'parks on the first token' },
  local: { letter: 'L', color: '#44aa99', words: 'looks close by' },
  global: { letter: 'G', color: '#aa4499', words: 'looks everywhere' },
  mixed: { letter: '·', color: '#7f8c99', words: 'none of these' },
};

/** Hues that are far from each other, one cluster after the other. */
export function clusterColor(cluster: number): string {
  return `hsl(${Math.round((cluster * 137.5) % 360)} 55% 55%)`;
}

/** How the view is set, in the address: what colours say, and the head that the selected one is put beside. */
export interface Look {
  paint: PaintName;
  beside: [number, number] | null;
}

export function parseLook(text: string | null): Look {
  const [paint, beside] = (text ?? '').split(' ');
  const match = /^(\d{1,6})\.(\d{1,6})$/.exec(beside ?? '');
  return {
    paint: PAINTS.find((name) => name === paint) ?? 'kind',
    beside: match && [Number(match[1]), Number(match[2])],
  };
}

export function formatLook({ paint, beside }: Look): string | null {
  const text = `${paint}${beside ? ` ${beside.join('.')}` : ''}`;
  return text === 'kind' ? null : text;
}

/** The divergence of two heads, from the list of all pairs. */
export function divergence(all: Heads, a: readonly [number, number], b: readonly [number, number]): number | null {
  let n = 0;
  const place = new Map<string, number>();
  for (const { layer, n_head } of all.uniform) for (let h = 0; h < n_head; h++) place.set(`${layer}.${h}`, n++);
  const [i, j] = [place.get(a.join('.')), place.get(b.join('.'))];
  if (i === undefined || j === undefined) return null;
  if (i === j) return 0;
  const [low, high] = i < j ? [i, j] : [j, i];
  return all.divergence.pairs?.[(low * (2 * n - low - 1)) / 2 + high - low - 1] ?? null;
}
