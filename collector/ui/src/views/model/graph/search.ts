// Finds parts of a model by name, kind, layer or tensor.
import type { ArchNode } from '../types';
import { kindName } from '../words';

/** All words have to be found; what is or begins with a word comes first. `most` are returned. */
export function searchParts(nodes: readonly ArchNode[], text: string, most = 200): { nodes: number[]; total: number } {
  const words = text
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean);
  if (!words.length) return { nodes: [], total: 0 };
  const ranked: { i: number; rank: number }[] = [];
  nodes.forEach((node, i) => {
    const name = node.label.toLowerCase();
    const around = node.layer === null ? '' : `layer ${node.layer} `;
    const rest =
      `${around}${node.id} ${kindName(node.kind)} ${node.tensors.map((t) => t.tensor).join(' ')}`.toLowerCase();
    const parts = new Set(`${around}${name}`.split(/[\s_]+/));
    // What stands in this order is meant before what only has all the words.
    let rank = ` ${around}${name} `.includes(` ${words.join(' ')} `) ? -1 : 0;
    for (const word of words) {
      if (parts.has(word)) continue;
      // A number is a whole word: layer 1 is not layer 12.
      if (/^\d+$/.test(word)) return;
      if (name.startsWith(word)) rank += 1;
      else if (name.includes(word)) rank += 2;
      else if (rest.includes(word)) rank += 3;
      else return;
    }
    ranked.push({ i, rank: rank + (node.kind === 'layer' ? 0 : 0.5) });
  });
  ranked.sort((a, b) => a.rank - b.rank || a.i - b.i);
  return { nodes: ranked.slice(0, most).map(({ i }) => i), total: ranked.length };
}
