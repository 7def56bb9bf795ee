// How wide texts are on a canvas.

let measuring: CanvasRenderingContext2D | null = null;
const widths = new Map<string, number>();

/** Width of a text in pixels. */
export function textWidth(text: string, font: string): number {
  const key = `${font}\n${text}`;
  let width = widths.get(key);
  if (width === undefined) {
    measuring ??= document.createElement('canvas').getContext('2d');
    if (!measuring) return text.length * 7;
    measuring.font = font;
    width = measuring.measureText(text).width;
    if (widths.size > 50_000) widths.clear();
    widths.set(key, width);
  }
  return width;
}
