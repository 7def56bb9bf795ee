// Where things are in the heatmap: names at the left and on top, cells that fit or are zoomed, what is scrolled away.

export interface Geometry {
  /** Room for names. */
  left: number;
  top: number;
  /** Pixels of a cell: its width, and its height, which is more where few rows have many keys. */
  cell: number;
  high: number;
  /** All of it. */
  width: number;
  height: number;
}

/** Largest cell that is not asked for, and the least and largest that may be. */
const COMFORTABLE = 26;
const LEAST = 0.25;
const LARGEST = 40;
/** Names have so much room, and less where there is little. */
const LEFT = 92;
const TOP = 78;
/** So many times as many columns as rows, and cells are as high as a line of text needs, however narrow. */
const FLAT = 3;
const LINE = 14;
/** The last name on top leans so far over its column, by how high names are. */
const LEAN = 0.55;
/** Cells below this have no names of their own. */
export const NAMED = 9;

/** How a picture of so many rows and columns lies in a box; `zoom` 1 fits. */
export function geometry(
  rows: number,
  columns: number,
  box: { width: number; height: number },
  zoom: number,
): Geometry {
  const left = Math.min(LEFT, Math.round(box.width * 0.24));
  const top = Math.min(TOP, Math.round(box.height * 0.24));
  const right = Math.round(top * LEAN);
  const fit = Math.min(
    COMFORTABLE,
    (box.width - left - right - 1) / Math.max(1, columns),
    (box.height - top - 1) / Math.max(1, rows),
  );
  // Whole pixels where they are many, so that all cells are alike.
  const wanted = Math.max(LEAST, Math.min(LARGEST, Math.max(LEAST, fit) * zoom));
  const cell = wanted >= 7 ? Math.floor(wanted) : wanted;
  const line = columns > FLAT * rows ? Math.floor(Math.min(LINE, (box.height - top - 1) / Math.max(1, rows))) : 0;
  const high = Math.max(cell, line);
  const width = left + Math.ceil(columns * cell) + right + 1;
  return { left, top, cell, high, width, height: top + Math.ceil(rows * high) + 1 };
}

/** The cell at a place of the box; null where there is none. */
export function cellAt(
  g: Geometry,
  scroll: { x: number; y: number },
  at: { x: number; y: number },
  rows: number,
  columns: number,
): { row: number; column: number } | null {
  const row = Math.floor((at.y - g.top + scroll.y) / g.high);
  const column = Math.floor((at.x - g.left + scroll.x) / g.cell);
  if (at.x < g.left && at.y < g.top) return null;
  const inside = row >= 0 && row < rows && column >= 0 && column < columns;
  return inside && at.x >= g.left && at.y >= g.top ? { row, column } : null;
}

/** Of so many names, every how many has room. */
export function stride(cell: number, room: number): number {
  return Math.max(1, Math.ceil(room / cell));
}

/** Where to scroll so that a cell is seen; the place that it was at if it is seen already. */
export function reveal(from: number, cell: number, index: number, room: number): number {
  const [begin, end] = [index * cell, (index + 1) * cell];
  if (begin < from) return begin;
  return end > from + room ? Math.max(0, end - room) : from;
}
