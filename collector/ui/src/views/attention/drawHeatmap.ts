// Draws the heatmap on a canvas: cells, names of tokens on both axes, and frames around what is selected or pointed at.
import { shownText } from '../../lib/shownText';
import { NAMED, stride, type Geometry } from './geometry';
import type { Picture } from './matrix';
import type { Palette, Scale } from './palette';
import { raster } from './raster';

export interface Ink {
  panel: string;
  text: string;
  muted: string;
  line: string;
  select: string;
  accent: string;
}

export interface Scene {
  picture: Picture;
  head: number;
  geometry: Geometry;
  scroll: { x: number; y: number };
  width: number;
  height: number;
  ratio: number;
  palette: Palette;
  scale: Scale;
  ink: Ink;
  /** The selected row and column, and those below the pointer. */
  row?: number;
  column?: number;
  hover?: { row: number; column: number } | null;
}

const FONT = '11px ui-monospace, "DejaVu Sans Mono", monospace';
/** Room between names. */
const ROOM = 13;
const TILT = -Math.PI / 3;

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

export function drawHeatmap(context: Context, scene: Scene) {
  const { geometry: g, width, height, ratio, ink } = scene;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = ink.panel;
  context.fillRect(0, 0, width, height);
  drawCells(context, scene);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawFrames(context, scene);
  // Names cover what is scrolled below them.
  context.fillStyle = ink.panel;
  context.fillRect(0, 0, width, g.top);
  context.fillRect(0, 0, g.left, height);
  drawRowNames(context, scene);
  drawColumnNames(context, scene);
  context.font = FONT;
  context.fillStyle = ink.muted;
  context.textBaseline = 'alphabetic';
  context.textAlign = 'left';
  if (g.left > 70) {
    context.fillText('key →', 6, g.top - 22);
    context.fillText('query ↓', 6, g.top - 7);
  }
}

function drawCells(context: Context, { picture, head, geometry: g, scroll, palette, scale, ratio, ...scene }: Scene) {
  const { left, top, cell, high } = g;
  const right = Math.min(scene.width, left + picture.keys.length * cell - scroll.x);
  const bottom = Math.min(scene.height, top + picture.rows.length * high - scroll.y);
  const [w, h] = [Math.round((right - left) * ratio), Math.round((bottom - top) * ratio)];
  if (w <= 0 || h <= 0) return;
  const image = new ImageData(w, h);
  const [cellWidth, cellHeight] = [cell * ratio, high * ratio];
  const view = { row: scroll.y / high, column: scroll.x / cell, cellWidth, cellHeight };
  raster(picture, head, view, image.data, w, h, palette, scale);
  // A canvas's own pixels: not moved by its transform.
  context.putImageData(image, Math.round(left * ratio), Math.round(top * ratio));
  if (cell < NAMED) return;
  context.strokeStyle = `rgb(${palette.nothing.join(' ')})`;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = Math.ceil(scroll.x / cell); x <= picture.keys.length; x++) {
    const at = left + x * cell - scroll.x;
    if (at > right) break;
    context.moveTo(at, top);
    context.lineTo(at, bottom);
  }
  for (let y = Math.ceil(scroll.y / high); y <= picture.rows.length; y++) {
    const at = top + y * high - scroll.y;
    if (at > bottom) break;
    context.moveTo(left, at);
    context.lineTo(right, at);
  }
  context.stroke();
}

function drawFrames(context: Context, { picture, geometry: g, scroll, ink, row, column, hover }: Scene) {
  const x = (i: number) => g.left + i * g.cell - scroll.x;
  const y = (i: number) => g.top + i * g.high - scroll.y;
  const [wide, thick] = [Math.max(g.cell, 2), Math.max(g.high, 2)];
  const [w, h] = [picture.keys.length * g.cell, picture.rows.length * g.high];
  const frame = (color: string, ...[at, top, width, height]: [number, number, number, number]) => {
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.strokeRect(at - 0.5, top - 0.5, width + 1, height + 1);
  };
  if (hover) {
    context.globalAlpha = 0.5;
    frame(ink.muted, x(0), y(hover.row), w, thick);
    frame(ink.muted, x(hover.column), y(0), wide, h);
    context.globalAlpha = 1;
  }
  if (row !== undefined) frame(ink.select, x(0), y(row), w, thick);
  if (column !== undefined) frame(ink.accent, x(column), y(0), wide, h);
}

/** Names of so many pixels, and those that are marked in any case. */
function named(n: number, cell: number, marked: (number | undefined)[]): { index: number; marked: boolean }[] {
  const every = stride(cell, ROOM);
  const marks = new Set(marked.filter((i) => i !== undefined));
  const near = (i: number) => [...marks].some((mark) => Math.abs(mark - i) * cell < ROOM);
  const plain = Array.from({ length: Math.ceil(n / every) }, (_, i) => i * every).filter((i) => !near(i));
  return [...plain.map((index) => ({ index, marked: false })), ...[...marks].map((index) => ({ index, marked: true }))];
}

/** A text that has room, or its beginning. */
function cut(context: Context, text: string, room: number): string {
  if (context.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > room) end--;
  return `${text.slice(0, end)}…`;
}

function nameOf(of: { token: number | null; text: string | null }): string {
  const number = of.token === null ? '' : String(of.token);
  return of.text === null ? number || '?' : shownText(of.token, of.text);
}

function drawRowNames(context: Context, { picture, geometry: g, scroll, height, ink, row, hover }: Scene) {
  context.font = FONT;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (const { index, marked } of named(picture.rows.length, g.high, [row, hover?.row])) {
    const y = g.top + (index + 0.5) * g.high - scroll.y;
    if (y < g.top || y > height) continue;
    const found = picture.rows[index];
    if (!found) continue;
    context.fillStyle = index === row ? ink.select : marked ? ink.text : ink.muted;
    context.fillText(cut(context, nameOf(found), g.left - 10), g.left - 5, y);
  }
}

function drawColumnNames(context: Context, { picture, geometry: g, scroll, width, ink, column, hover }: Scene) {
  context.font = FONT;
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  for (const { index, marked } of named(picture.keys.length, g.cell, [column, hover?.column])) {
    const x = g.left + (index + 0.5) * g.cell - scroll.x;
    if (x < g.left || x > width) continue;
    const found = picture.keys[index];
    if (!found) continue;
    context.save();
    context.translate(x, g.top - 5);
    context.rotate(TILT);
    context.fillStyle = index === column ? ink.accent : marked ? ink.text : ink.muted;
    context.fillText(cut(context, nameOf(found), (g.top - 8) / Math.sin(-TILT)), 0, 0);
    context.restore();
  }
}
