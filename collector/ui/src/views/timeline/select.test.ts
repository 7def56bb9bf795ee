import { expect, it } from 'vitest';
import type { GraphPart, GraphTensor } from '../../lib/types';
import { counterpart, tokensOf } from './select';
import { timeline } from './testing';

const graph = (graph: number, names: string[]) =>
  ({ graph, tensors: names.map((name, id) => ({ id, name, op: 'MUL' }) as GraphTensor) }) as GraphPart;

it('finds an operator again in a graph that numbers its nodes in another way', () => {
  const [a, b] = [graph(1, ['norm', 'up', 'norm']), graph(2, ['more', 'norm', 'norm'])];
  expect(counterpart(a.tensors[2], a, b)?.id).toBe(2);
  expect(counterpart(a.tensors[0], a, b)?.id).toBe(1);
  expect(counterpart(a.tensors[1], a, b)).toBeUndefined();
  expect(counterpart(a.tensors[1], a, a)?.id).toBe(1);
});

it('selects all tokens of a prompt at once, and none where there are none', () => {
  const t = timeline([{ n_tokens: 4 }, { n_tokens: 0 }, {}]);
  expect([0, 1, 2].map((seq) => tokensOf(t, seq))).toEqual([[0, 3], null, [4, 4]]);
});
