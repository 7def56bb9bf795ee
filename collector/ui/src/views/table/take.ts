// Rows for the clipboard and for files: fetched a large page at a time, in the order of the screen.
import { csv } from '../../lib/save';
import type { Operator } from '../../lib/types';
import type { Fetch } from './blocks.svelte';
import { record } from './rows';

/** Rows that are taken at the most; whoever wants all exports the session. */
export const MOST = 10_000;
/** Rows of a page. */
const PAGE = 1000;

/** Rows from `first` on, `count` and `MOST` of them at the most. */
export async function take(
  fetch: Fetch<Operator>,
  first: number,
  count: number,
  signal: AbortSignal,
  progress: (rows: number) => void,
): Promise<Operator[]> {
  const rows: Operator[] = [];
  const wanted = Math.min(count, MOST);
  while (rows.length < wanted) {
    const page = await fetch(first + rows.length, Math.min(PAGE, wanted - rows.length), signal);
    if (page.items.length === 0) break;
    rows.push(...page.items);
    progress(rows.length);
  }
  return rows;
}

export type Form = 'csv' | 'json';

export function text(rows: Operator[], form: Form): string {
  return form === 'csv' ? csv(rows.map(record)) : JSON.stringify(rows, null, 1);
}
