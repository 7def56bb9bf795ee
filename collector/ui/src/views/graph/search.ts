// Finds tensors by name, operator, type or meaning.
import type { Model } from './model';

export interface Found {
  /** Indices of the tensors, the best first. */
  tensors: number[];
  total: number;
}

/** All words have to be found; names that are or begin with the words come first. At most `most` are returned. */
export function search(model: Pick<Model, 'tensors'>, text: string, most = 200): Found {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return { tensors: [], total: 0 };
  const ranked: { i: number; rank: number }[] = [];
  model.tensors.forEach((t, i) => {
    const name = t.name.trim().toLowerCase();
    const rest = `${t.leaf ? 'leaf' : t.op} ${t.type} ${t.meaning ?? ''}`.toLowerCase();
    let rank = 0;
    for (const word of words) {
      if (name === word) continue;
      if (name.startsWith(word)) rank += 1;
      else if (!t.leaf && t.op.toLowerCase() === word) rank += 2;
      else if (name.includes(word)) rank += 3;
      else if (rest.includes(word)) rank += 4;
      else return;
    }
    ranked.push({ i, rank });
  });
  ranked.sort((a, b) => a.rank - b.rank || a.i - b.i);
  return { tensors: ranked.slice(0, most).map(({ i }) => i), total: ranked.length };
}
