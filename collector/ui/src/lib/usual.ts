// The context that is shown when nobody has chosen one.
import type { ContextOfSession } from './types';

/** Of the contexts of the first model the one that computed a token last, as the server has it; of all where models are not
 * known. `last` has the newest token of each. */
export function usualContext(
  last: ReadonlyMap<number, number>,
  known: readonly ContextOfSession[],
  first: number | null,
): number | null {
  const ofFirst = new Set(known.filter((one) => first !== null && one.model === first).map((one) => one.context));
  const all = [...last].filter(([context]) => ofFirst.size === 0 || ofFirst.has(context));
  return (
    all.reduce<[number, number] | null>((most, one) => (most && most[1] >= one[1] ? most : one), null)?.[0] ?? null
  );
}
