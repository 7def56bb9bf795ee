// One block, element by element: its quant, its sub-block's scale and minimum, and the value that they make.
import type { Block, SubBlock } from '../types';
import { small } from '../words';

export interface Element {
  /** Place in the block. */
  at: number;
  sub: number;
  quant: number;
  /** The value as ggml dequantises it; null if it cannot. */
  value: number | null;
}

export function elementsOf(block: Block): Element[][] {
  let at = 0;
  return block.sub_blocks.map((sub, s) =>
    sub.quants.map((quant) => {
      const element = { at, sub: s, quant, value: block.values?.[at] ?? null };
      at++;
      return element;
    }),
  );
}

/** Cells of a row: as many as divide the sub-blocks evenly and are no more than 32. */
export function rowLength(block: Block): number {
  const [first] = block.sub_blocks;
  const n = first?.quants.length ?? 32;
  return n > 32 && n % 32 === 0 ? 32 : Math.min(n, 64);
}

/** The largest magnitude of a block's values, for its colours. */
export function largest(block: Block): number {
  return Math.max(1e-12, ...(block.values ?? []).map(Math.abs), ...(block.values ? [] : [0]));
}

/** How a value comes about, with the numbers of this block: `0.03786 = 0.01836 × 11 − 0.1641`. */
export function equation(block: Block, element: Element): string | null {
  const { scale, min }: SubBlock = block.sub_blocks[element.sub];
  if (element.value === null) return null;
  const made = scale * element.quant + (min ?? 0);
  // Codebooks and shifts add more than scale, quant and minimum say.
  if (Math.abs(made - element.value) > 1e-4 * Math.max(Math.abs(made), Math.abs(scale), 1e-9)) return null;
  const sign = (min ?? 0) < 0 ? '−' : '+';
  return `${small(element.value)} = ${small(scale)} × ${small(element.quant)}${min === null ? '' : ` ${sign} ${small(Math.abs(min))}`}`;
}

/** Where the scale of a sub-block comes from: `0.0021 = d × 43`. */
export function scaleText({ scale, scale_code }: SubBlock): string {
  return scale_code === null ? small(scale) : `${small(scale)} = d × ${scale_code}`;
}

/** A colour between two of opposite sign; `x` is from −1 to 1. */
export function diverging(x: number): string {
  // Half of the ground is left: the page's text can be read on it in both themes.
  const part = Math.round(55 * Math.min(1, Math.abs(x)) ** 0.8);
  return `color-mix(in oklab, ${x < 0 ? '#3b8fd9' : '#e08a1e'} ${part}%, var(--panel))`;
}
