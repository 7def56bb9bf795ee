// What is written on the boxes of the architecture.
import type { ArchNode } from '../types';
import { parameters } from '../words';
import { gathered, type ArchTree } from './groups';
import { measureText, type Measure, type Values } from './values';

/** The name of a node where the layer that it is in is on the screen around it. */
function shortName(node: ArchNode): string {
  if (node.kind === 'head') return `Q ${node.index ?? ''}`;
  if (node.kind === 'kv_head') return /compressed/.test(node.label) ? 'latent' : `KV ${node.index ?? ''}`;
  if (node.kind === 'expert') return `E ${node.index ?? ''}`;
  return node.label;
}

/** A box with its number: of what is coloured by, or else its parameters. */
export function labelOf(
  tree: ArchTree,
  node: number,
  group: number,
  stream: boolean,
  told: { measure: Measure; values: Values } | null,
): { title: string; detail: string } {
  const { nodes } = tree.graph;
  if (stream) return { title: '⊕ residual stream', detail: '' };
  const number = () => {
    if (node < 0) return '';
    if (told) return measureText(told.measure, told.values[node]);
    return nodes[node].parameters ? parameters(nodes[node].parameters) : '';
  };
  if (group >= 0) {
    const { title, members } = tree.groups[group];
    return { title, detail: node >= 0 ? number() : gathered(nodes, members) };
  }
  const cell = tree.home[node] >= 0 && tree.groups[tree.home[node]].grid;
  return { title: shortName(nodes[node]), detail: cell ? '' : number() };
}
