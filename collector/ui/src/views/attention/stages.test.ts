import { expect, it } from 'vitest';
import { ratioOf, softmaxOf } from './stages';
import type { HeadRow } from './types';

const head: HeadRow = {
  head: 0,
  kv_head: 0,
  products: [8, 16, -8],
  scaled: [1, 2, -1],
  masked: [1, 2, null],
  weights: [1 / (1 + Math.E), Math.E / (1 + Math.E), 0],
  sink: null,
};

it('the softmax written out is the weight', () => {
  const { max, sum } = softmaxOf(head)!;
  expect(Math.exp(head.masked[0]! - max) / sum).toBeCloseTo(head.weights[0]!);
  expect(Math.exp(head.masked[1]! - max) / sum).toBeCloseTo(head.weights[1]!);
});

it('a sink is divided by as well', () => {
  const half = { ...head, weights: head.weights.map((weight) => weight! / 2), sink: 0.5 };
  const { max, sum } = softmaxOf(half)!;
  expect(Math.exp(half.masked[1]! - max) / sum).toBeCloseTo(half.weights[1]!);
});

it('NaN has no arithmetic', () => {
  expect(softmaxOf({ ...head, weights: [null, null, null] })).toBe(null);
  expect(softmaxOf({ ...head, masked: [null, null, null], weights: [0, 0, 0] })).toBe(null);
});

it('the scale is one number, unless a soft cap bends it', () => {
  expect(ratioOf(head, 0)).toBe(0.125);
  expect(ratioOf({ ...head, scaled: [1, 1.7, -1] }, 0)).toBe(null);
  expect(ratioOf({ ...head, products: [0, 16, -8], scaled: [0, 2, -1] }, 0)).toBe(null);
});
