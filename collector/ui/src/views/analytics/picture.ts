// A grid of coloured cells as one picture of a chart: a shape for each would take a second where there are many.
import { viridis } from '../../lib/colors';

/** A colour as a pixel of a canvas. */
export function pixel([r, g, b]: readonly [number, number, number]): number {
  return (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
}

/** The pixels of values from 0 to `top`; what is no number is left blank. */
export function scaled(values: ArrayLike<number>, top: number): Uint32Array {
  return Uint32Array.from(values, (value) => (Number.isNaN(value) ? 0 : pixel(viridis(value / top))));
}

/** The cells, as large as the plot in pixels of the screen. */
function paint(cells: Uint32Array, columns: number, width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
  canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
  const context = canvas.getContext('2d')!;
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const rows = cells.length / columns;
  for (let y = 0, at = 0; y < canvas.height; y++) {
    const row = Math.floor((y * rows) / canvas.height) * columns;
    for (let x = 0; x < canvas.width; x++) pixels[at++] = cells[row + Math.floor((x * columns) / canvas.width)];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The cells, row by row, as a series that fills its axes. */
export function picture(cells: Uint32Array, columns: number): object {
  return {
    type: 'custom',
    silent: true,
    data: cells.length ? [[0, 0]] : [],
    renderItem: ({
      coordSys: { x, y, width, height },
    }: {
      coordSys: Record<'x' | 'y' | 'width' | 'height', number>;
    }) => ({
      type: 'image',
      style: { image: paint(cells, columns, width, height), x, y, width, height },
    }),
  };
}
