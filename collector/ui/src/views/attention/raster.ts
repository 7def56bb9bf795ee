// A picture's cells as pixels. Where cells are smaller than a pixel, the heaviest weight in it shows, and NaN before all.
import { UNSEEN, type Picture } from './matrix';
import type { Palette, Scale } from './palette';

export interface View {
  /** Row and column at the upper left corner; may be parts of one. */
  row: number;
  column: number;
  /** Pixels of a cell. */
  cellWidth: number;
  cellHeight: number;
}

/** Paints `width` × `height` pixels of `rgba`. */
export function raster(
  picture: Picture,
  head: number,
  view: View,
  rgba: Uint8ClampedArray,
  width: number,
  height: number,
  palette: Palette,
  scale: Scale,
) {
  const n = picture.keys.length;
  const line = new Float32Array(n);
  const best = new Float32Array(n);
  const columns = Array.from({ length: width }, (_, x) => cells(view.column, view.cellWidth, x, n));
  let before: readonly [number, number] | null = null;
  for (let y = 0; y < height; y++) {
    const rows = cells(view.row, view.cellHeight, y, picture.rows.length);
    const at = y * width * 4;
    if (before && before[0] === rows[0] && before[1] === rows[1]) {
      rgba.copyWithin(at, at - width * 4, at);
      continue;
    }
    before = rows;
    best.fill(UNSEEN);
    for (let row = rows[0]; row < rows[1]; row++) {
      picture.line(row, head, line);
      if (row === rows[0]) best.set(line);
      else for (let c = 0; c < n; c++) best[c] = palette.heavier(best[c], line[c]);
    }
    for (let x = 0; x < width; x++) {
      let weight = UNSEEN;
      for (let c = columns[x][0]; c < columns[x][1]; c++) weight = palette.heavier(weight, best[c]);
      const [r, g, b] = palette.of(weight, scale);
      const pixel = at + x * 4;
      rgba[pixel] = r;
      rgba[pixel + 1] = g;
      rgba[pixel + 2] = b;
      rgba[pixel + 3] = 255;
    }
  }
}

/** The cells of a pixel: from the first to the one after the last. */
function cells(from: number, size: number, pixel: number, n: number): readonly [number, number] {
  const first = Math.floor(from + (pixel + 1e-6) / size);
  const end = Math.max(first + 1, Math.ceil(from + (pixel + 1) / size - 1e-6));
  return first >= n || first < 0 ? [0, 0] : [first, Math.min(end, n)];
}
