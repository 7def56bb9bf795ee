// Text on a canvas that is no wider than its place.

/** As much of a text as fits, with an ellipsis for the rest; nothing if less than `least` characters would be left. */
export function shorten(text: string, width: number, measure: (text: string) => number, least = 1): string {
  const all = [...text];
  if (measure(text) <= width) return text;
  let [low, high] = [0, all.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (measure(`${all.slice(0, middle).join('')}…`) <= width) low = middle;
    else high = middle - 1;
  }
  return low < least ? '' : `${all.slice(0, low).join('')}…`;
}

/** Draws a text from `x` on, if at least `least` characters of it fit into `width`. */
export function put(
  g: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  width: number,
  least = 1,
): boolean {
  if (width < 5 || text === '') return false;
  const shown = shorten(text, width, (part) => g.measureText(part).width, least);
  if (shown === '') return false;
  g.fillText(shown, x, y);
  return true;
}

/** Draws the first of several wordings that fits wholly; returns whether one did. */
export function putFirst(g: CanvasRenderingContext2D, texts: string[], x: number, y: number, width: number): boolean {
  const text = texts.find((text) => g.measureText(text).width <= width);
  if (text === undefined) return false;
  g.fillText(text, x, y);
  return true;
}
