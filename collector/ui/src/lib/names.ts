// What views and ranges are called, in addresses and in words.

export const VIEWS = [
  'graph',
  'memory',
  'table',
  'analytics',
  'compare',
  'info',
  'model',
  'attention',
  'layers',
  'heads',
  'experts',
] as const;
export type View = (typeof VIEWS)[number];

/** Numbers from the first to the last, both included. */
export type Range = [number, number];

/** `7`, or `7..9`. */
export function rangeText([first, last]: Range): string {
  return first === last ? String(first) : `${first}..${last}`;
}
