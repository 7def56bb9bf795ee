// Many parts of one sort in rows and columns: heads of keys and values above the query heads that share them, experts.
import type { ArchNode } from '../types';

export interface Cell {
  node: number;
  x: number;
  y: number;
}

export interface GridPlan {
  cells: Cell[];
  width: number;
  height: number;
}

export const CELL = { width: 54, height: 20, gap: 4 };
const BAND_GAP = 12;
/** How much wider than high a grid is meant to be. */
const ASPECT = 2.2;

/** Rows and columns of `n` cells. */
function columnsOf(n: number, rowHeight = CELL.height + CELL.gap): number {
  const wide = CELL.width + CELL.gap;
  return Math.max(1, Math.min(n, Math.round(Math.sqrt((n * ASPECT * rowHeight) / wide))));
}

function plain(nodes: number[], top: number, columns = columnsOf(nodes.length)): GridPlan {
  const cells = nodes.map((node, i) => ({
    node,
    x: (i % columns) * (CELL.width + CELL.gap),
    y: top + Math.floor(i / columns) * (CELL.height + CELL.gap),
  }));
  const rows = Math.ceil(nodes.length / columns);
  return {
    cells,
    width: Math.min(columns, nodes.length) * (CELL.width + CELL.gap) - CELL.gap,
    height: top + rows * (CELL.height + CELL.gap) - CELL.gap,
  };
}

/** Places of cells, from the upper left corner on. */
export function gridOf(nodes: readonly ArchNode[], members: readonly number[]): GridPlan {
  const kv = members.filter((i) => nodes[i].kind === 'kv_head');
  const rest = members.filter((i) => nodes[i].kind !== 'kv_head');
  if (!kv.length || !rest.length) return plain([...members], 0);
  const share = Math.ceil(rest.length / kv.length);
  // Few that serve very many: they stand above, all others below.
  if (share > 8) {
    const below = plain(rest, CELL.height + BAND_GAP);
    const above = plain(kv, 0, kv.length);
    return { cells: [...above.cells, ...below.cells], width: Math.max(above.width, below.width), height: below.height };
  }
  const wide = CELL.width + CELL.gap;
  const tall = (share + 1) * (CELL.height + CELL.gap) + BAND_GAP - CELL.gap;
  const columns = columnsOf(kv.length, tall);
  const cells: Cell[] = [];
  kv.forEach((node, i) => {
    const x = (i % columns) * wide;
    const top = Math.floor(i / columns) * tall;
    cells.push({ node, x, y: top });
    rest.forEach((head, h) => {
      // As llama.cpp shares them: neighbours have the same keys.
      if (Math.floor((h * kv.length) / rest.length) !== i) return;
      const nth = h - Math.ceil((i * rest.length) / kv.length);
      cells.push({ node: head, x, y: top + (nth + 1) * (CELL.height + CELL.gap) });
    });
  });
  return {
    cells,
    width: Math.min(columns, kv.length) * wide - CELL.gap,
    height: Math.ceil(kv.length / columns) * tall - BAND_GAP,
  };
}
