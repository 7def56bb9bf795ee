// The arithmetic of one row's softmax, to be written out with its numbers.
import type { HeadRow } from './types';

/** The largest number before the softmax, and the sum of the powers that all are divided by, a sink's included. */
export function softmaxOf(head: HeadRow): { max: number; sum: number } | null {
  // A key that is masked is null, as −∞ is, and takes nothing.
  const seen = head.masked.filter((value): value is number => value !== null);
  if (seen.length === 0 || head.weights.some((weight) => weight === null)) return null;
  const max = seen.reduce((a, b) => Math.max(a, b));
  const keys = seen.reduce((sum, value) => sum + Math.exp(value - max), 0);
  // What the sink took is a part of all.
  return { max, sum: head.sink === null || head.sink >= 1 ? keys : keys / (1 - head.sink) };
}

/** What a product was scaled by, if that is one number for all keys; null where a soft cap bends it. */
export function ratioOf(head: HeadRow, at: number): number | null {
  const ratios = head.products.flatMap((product, i) => {
    const scaled = head.scaled[i];
    return product === null || scaled === null || Math.abs(product) < 1e-3 ? [] : [scaled / product];
  });
  const [product, scaled] = [head.products[at], head.scaled[at]];
  if (!product || scaled === null || ratios.length === 0) return null;
  const own = scaled / product;
  return ratios.every((ratio) => Math.abs(ratio - own) <= 1e-3 * Math.abs(own)) ? own : null;
}
