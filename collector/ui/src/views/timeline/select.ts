// What a click on the timeline selects.
import { current } from '../../lib/current.svelte';
import { selection, type Range, type Selected } from '../../lib/selection.svelte';
import type { Timeline } from '../../lib/timeline';
import type { GraphPart, GraphTensor } from '../../lib/types';
import type { Flame, OperatorPart } from './flame';
import type { Hit } from './scene';

/** All tokens of an evaluation; null if it has none. */
export function tokensOf(t: Timeline, seq: number): Range | null {
  const [first, n] = [t.first_token[seq], t.n_tokens[seq]];
  return n > 0 ? [first, first + n - 1] : null;
}

/** The tensor of another graph that has the same name and kind, the same one of several. */
export function counterpart(tensor: GraphTensor, from: GraphPart, to: GraphPart): GraphTensor | undefined {
  if (from.graph === to.graph) return tensor;
  const same = (t: GraphTensor) => t.name === tensor.name && t.op === tensor.op;
  return to.tensors.filter(same)[from.tensors.filter(same).findIndex((t) => t.id === tensor.id)];
}

/** Selects what was clicked; with `extend`, tokens up to the ones that were clicked. */
export function selectHit(hit: Hit, t: Timeline, extend: boolean) {
  switch (hit.kind) {
    case 'evaluation': {
      const tokens: Range | null = hit.token === null ? tokensOf(t, hit.seq) : [hit.token, hit.token];
      const before = selection.tokens;
      if (!tokens) return;
      if (!extend || !before) return current.selectTokens(tokens);
      return current.selectTokens([Math.min(before[0], tokens[0]), Math.max(before[1], tokens[1])]);
    }
    case 'layer':
    case 'block': {
      // A second click takes it back. A tensor of another layer would hide it.
      const layer = hit.part.layer === selection.layer ? null : hit.part.layer;
      const other = layer !== null && current.node?.layer !== layer;
      return change(t, hit.flame.seq, { layer, ...(other && { node: null, tensor: null }) });
    }
    case 'operator':
      return selectOperator(hit.flame, hit.part, t);
    case 'unknown':
      return change(t, hit.flame.seq, {});
  }
}

/** Selects an operator of an evaluation, and the evaluation's tokens with it. */
export function selectOperator(flame: Flame, part: OperatorPart, t: Timeline) {
  const { tensor } = part;
  if (!tensor) return;
  // Numbers of nodes are those of the graph on the screen, which follows the tokens.
  const shown = current.graph ? counterpart(tensor, flame.graph, current.graph) : tensor;
  const layer = current.layerWith(shown, part.layer);
  change(t, flame.seq, { node: shown?.id ?? null, tensor: tensor.name, layer });
}

function change(t: Timeline, seq: number, what: Partial<Selected>) {
  const at = selection.tokens && t.seqOfToken(selection.tokens[0]);
  if (at === seq) return selection.set(what);
  current.following = false;
  selection.set({ ...what, tokens: tokensOf(t, seq) ?? selection.tokens });
}
