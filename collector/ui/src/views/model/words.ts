// Names, numbers and colours of what a model consists of: the same in every tab.
import { count } from '../../lib/format';

/** Parts of a model, as the server names them, in the order in which they are shown. */
const COMPONENTS: Record<string, [name: string, colour: string]> = {
  embedding: ['embedding', '#e69f00'],
  attention: ['attention', '#56b4e9'],
  feed_forward: ['feed-forward', '#2bb673'],
  experts: ['experts', '#7fbf3f'],
  shared_experts: ['shared experts', '#b5cf57'],
  router: ['router', '#b07aa1'],
  state_space: ['state space', '#d55e00'],
  convolution: ['convolution', '#c49c67'],
  norm: ['norms', '#9aa7b4'],
  residual: ['residual', '#8e9bb3'],
  rope: ['rotary factors', '#7d8fa8'],
  output: ['output', '#cc79a7'],
  next_token: ['next-token prediction', '#e58fb5'],
  projector: ['projector', '#8c7ae6'],
  other: ['other', '#7a8794'],
};

export const COMPONENT_ORDER = Object.keys(COMPONENTS);

export function componentName(component: string): string {
  return COMPONENTS[component]?.[0] ?? component.replaceAll('_', ' ');
}

export function componentColour(component: string): string {
  return COMPONENTS[component]?.[1] ?? COMPONENTS.other[1];
}

export function byOrder<T extends { component: string }>(list: readonly T[]): T[] {
  const place = (c: string) => (COMPONENT_ORDER.indexOf(c) + COMPONENT_ORDER.length + 1) % (COMPONENT_ORDER.length + 1);
  return [...list].sort((a, b) => place(a.component) - place(b.component));
}

/** Kinds of nodes of the architecture graph. */
const KINDS: Record<string, [name: string, colour: string]> = {
  input: ['input', '#f0c36d'],
  embedding: ['embedding', '#e69f00'],
  layer: ['layer', '#7189d9'],
  norm: ['norm', '#9aa7b4'],
  head: ['query head', '#56b4e9'],
  kv_head: ['key and value head', '#3b7fc4'],
  attention: ['attention', '#56b4e9'],
  cross_attention: ['cross-attention', '#7bd0e0'],
  state_space: ['state space', '#d55e00'],
  feed_forward: ['feed-forward', '#2bb673'],
  router: ['router', '#b07aa1'],
  expert: ['expert', '#7fbf3f'],
  shared_expert: ['shared expert', '#b5cf57'],
  rope: ['rotary factors', '#7d8fa8'],
  output: ['output', '#cc79a7'],
  projector: ['projector', '#8c7ae6'],
  convolution: ['convolution', '#c49c67'],
  other: ['other', '#7a8794'],
};

export function kindName(kind: string): string {
  return KINDS[kind]?.[0] ?? kind;
}

export function kindColour(kind: string): string {
  return KINDS[kind]?.[1] ?? KINDS.other[1];
}

/** Colours of things that are only told apart, such as communities and models. */
export const SERIES = [
  '#56b4e9',
  '#e69f00',
  '#2bb673',
  '#cc79a7',
  '#d55e00',
  '#8c7ae6',
  '#b5cf57',
  '#7bd0e0',
  '#c49c67',
  '#e58fb5',
  '#3b7fc4',
  '#9aa7b4',
];

const SIZES: [number, string][] = [
  [1e12, 'T'],
  [1e9, 'B'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** A number of parameters as people say it: `134.5 M`. */
export function parameters(n: number | null | undefined): string {
  if (n === null || n === undefined) return '–';
  const size = SIZES.find(([size]) => Math.abs(n) >= size);
  if (!size) return count(n);
  const value = n / size[0];
  return `${value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2)} ${size[1]}`;
}

const OPERATIONS: [number, string][] = [
  [1e15, 'P'],
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** With the decimal prefix that fits: `269 MFLOP`. */
export function metric(n: number, unit: string): string {
  const [size, prefix] = OPERATIONS.find(([size]) => Math.abs(n) >= size) ?? [1, ''];
  const value = n / size;
  return `${value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2)} ${prefix}${unit}`;
}

/** Tokens: `512`, `4k`, `128k`. */
export function tokens(n: number): string {
  return n >= 1024 && n % 1024 === 0 ? `${count(n / 1024)}k` : count(n);
}

export function bits(n: number | null | undefined): string {
  return n === null || n === undefined ? '–' : n.toFixed(2);
}

/** A small number as it is read: `0.0184`, `−0.164`. */
export function small(n: number | null | undefined): string {
  if (n === null || n === undefined) return '–';
  if (n === 0) return '0';
  const text = Math.abs(n) < 1e-4 || Math.abs(n) >= 1e5 ? n.toExponential(3) : String(+n.toPrecision(4));
  return text.replace('-', '−');
}

const ATTENTION = {
  mha: 'multi-head attention',
  gqa: 'grouped-query attention',
  mqa: 'multi-query attention',
  mla: 'latent attention',
} as const;

export function attentionName(kind: keyof typeof ATTENTION): string {
  return ATTENTION[kind] ?? kind;
}
