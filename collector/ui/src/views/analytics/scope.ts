// What numbers are of, in words.
import { rangeText, selection, type Range } from '../../lib/selection.svelte';

/** `token 7`, `tokens 7..9` or `whole run`. */
export function scopeText(tokens: Range | null): string {
  if (!tokens) return 'whole run';
  return `${tokens[0] === tokens[1] ? 'token' : 'tokens'} ${rangeText(tokens)}`;
}

/** Selects a kind of operator, or none if it was selected. */
export function toggleOp(op: string) {
  selection.set({ op: selection.op === op ? null : op });
}

/** Selects a layer, or none if it was selected. */
export function toggleLayer(layer: number | null) {
  selection.set({ layer: selection.layer === layer ? null : layer });
}
