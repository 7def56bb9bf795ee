// Draws a track: the strip of the whole axis, places and layers, the cells, the pages in memory, and the marks of the axis.
import { themeColor } from '../../lib/colors';
import { bytes, fileName, hex } from '../../lib/format';
import { ticks, whole, type Axis, type Tick, type Window } from './axis';
import type { Band, Cells, Placed } from './cells';
import { columns, runs } from './columns';
import { label, step, type Palette, type Scale } from './heat';
import { READ, RESIDENT, stateColumns, type State } from './residency';

/** Where a row of the track is. */
export interface Row {
  y: number;
  h: number;
}

export interface Layout {
  overview: Row;
  places: Row | null;
  bands: Row;
  cells: Row;
  pages: Row | null;
  axis: Row;
}

/** Rows for a height: the cells get what the others leave. */
export function layout(height: number, places: boolean, pages: boolean): Layout {
  let y = 0;
  const row = (h: number, gap: number): Row => {
    const made = { y, h };
    y += h + gap;
    return made;
  };
  const overview = row(12, 4);
  const placesRow = places ? row(15, 2) : null;
  const bandsRow = row(14, 2);
  const below = 17 + (pages ? 17 : 0);
  const cellsRow = row(Math.max(18, height - y - below), 3);
  const pagesRow = pages ? row(14, 2) : null;
  return { overview, places: placesRow, bands: bandsRow, cells: cellsRow, pages: pagesRow, axis: row(14, 0) };
}

export interface Ink {
  panel: string;
  raised: string;
  line: string;
  text: string;
  muted: string;
  faint: string;
  accent: string;
  select: string;
  both: string;
  wasted: string;
  cold: string;
  mono: string;
  hatch: CanvasPattern | string;
}

/** The colours of the theme, for a canvas. */
export function ink(context: CanvasRenderingContext2D): Ink {
  const line = themeColor('--line');
  const tile = document.createElement('canvas');
  tile.width = tile.height = 6;
  const on = tile.getContext('2d')!;
  on.strokeStyle = line;
  on.lineWidth = 1;
  on.beginPath();
  for (const x of [-6, 0, 6]) {
    on.moveTo(x, 6);
    on.lineTo(x + 6, 0);
  }
  on.stroke();
  return {
    panel: themeColor('--panel'),
    raised: themeColor('--raised'),
    line,
    text: themeColor('--text'),
    muted: themeColor('--muted'),
    faint: themeColor('--faint'),
    accent: themeColor('--accent'),
    select: themeColor('--select'),
    both: themeColor('--good'),
    wasted: themeColor('--prompt'),
    cold: themeColor('--accent'),
    mono: themeColor('--mono'),
    hatch: context.createPattern(tile, 'repeat') ?? line,
  };
}

export interface Scene {
  width: number;
  ratio: number;
  layout: Layout;
  axis: Axis;
  window: Window;
  placed: Placed;
  cells: Cells;
  /** What was read by other tokens than the selected ones. */
  others: Cells | null;
  scale: Scale | null;
  palette: Palette;
  bands: Band[];
  layer: number | null;
  states: State[] | null;
  /** Regions of the selected tensor, and of the one that is pointed at. */
  selected: number[];
  hovered: number[];
  /** The cell that the keyboard is at, and the region of it that is named. */
  cursor: { from: number; to: number } | null;
  /** Bytes of the box that is being drawn. */
  box: { from: number; to: number; overview: boolean } | null;
  ink: Ink;
}

const FONT = 11;
/** Width of a character of the monospaced font, in its height. */
const ADVANCE = 0.602 * FONT;

/** As much of a name as fits: all of it, what is special about it, the begin of that, or nothing. */
export function fit(name: string, width: number): string {
  const room = Math.floor(width / ADVANCE);
  if (name.length <= room) return name;
  const short = name.replace(/^blk\.\d+\./, '').replace(/\.(weight|bias)$/, '');
  if (short.length <= room) return short;
  return room >= 4 ? `${short.slice(0, room - 1)}…` : '';
}

/** An offset or address of a mark, as exact as the distance of the marks asks for. */
export function tickLabel(tick: Tick, memory: string): string {
  const offset = tick.byte - tick.span.start;
  if (memory === 'DISK') return tick.step >= 2 ** 20 || tick.byte === 0 ? bytes(tick.byte) : hex(tick.byte);
  return tick.step >= 2 ** 20 && offset > 0 ? `+${bytes(offset)}` : hex(tick.byte);
}

export function draw(context: CanvasRenderingContext2D, scene: Scene, memory: string) {
  const { width, ratio, layout, ink: color } = scene;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, layout.axis.y + layout.axis.h);
  context.font = `${FONT}px ${color.mono}`;
  context.textBaseline = 'middle';
  overview(context, scene);
  if (layout.places) places(context, scene, layout.places);
  layers(context, scene);
  heatCells(context, scene, layout.cells, scene.window, true);
  if (layout.pages && scene.states) pages(context, scene, layout.pages, scene.states);
  marks(context, scene, memory);
  outlines(context, scene);
}

const at = (scene: Scene, position: number) => ((position - scene.window.from) / scene.window.bytes) * scene.width;

function overview(context: CanvasRenderingContext2D, scene: Scene) {
  const { layout, axis, window, ink: color, width, box } = scene;
  const { y, h } = layout.overview;
  const all = whole(axis.total);
  heatCells(context, scene, layout.overview, all, false);
  const x = (position: number) => (position / all.bytes) * width;
  context.fillStyle = color.select;
  for (const i of scene.selected) {
    const left = x(scene.placed.from[i]);
    context.fillRect(Math.round(left) - 1, y, Math.max(3, x(scene.placed.to[i]) - left), h);
  }
  const [left, right] = [x(window.from), x(window.from + window.bytes)];
  if (right - left < width - 0.5) {
    context.globalAlpha = 0.62;
    context.fillStyle = color.panel;
    context.fillRect(0, y, left, h);
    context.fillRect(right, y, width - right, h);
    context.globalAlpha = 1;
    context.strokeStyle = color.text;
    context.lineWidth = 1.5;
    const wide = Math.max(4, right - left);
    context.strokeRect(Math.min(width - wide - 1, Math.max(1, left)), y + 0.75, wide, h - 1.5);
  }
  if (box?.overview) band(context, x(box.from), x(box.to), layout.overview, color);
}

function band(context: CanvasRenderingContext2D, from: number, to: number, row: Row, color: Ink) {
  const [left, right] = [Math.min(from, to), Math.max(from, to)];
  context.globalAlpha = 0.3;
  context.fillStyle = color.accent;
  context.fillRect(left, row.y, right - left, row.h);
  context.globalAlpha = 1;
  context.strokeStyle = color.accent;
  context.lineWidth = 1;
  context.strokeRect(Math.round(left) + 0.5, row.y + 0.5, Math.max(1, Math.round(right - left) - 1), row.h - 1);
}

function heatCells(context: CanvasRenderingContext2D, scene: Scene, row: Row, window: Window, detail: boolean) {
  const { cells, scale, palette, ink: color, ratio, width, axis, others, placed } = scene;
  const n = Math.max(1, Math.round(width * ratio));
  const px = width / n;
  const end = Math.min(width, ((axis.total - window.from) / window.bytes) * width);
  context.fillStyle = color.hatch;
  context.fillRect(0, row.y, end, row.h);
  if (others) {
    context.fillStyle = color.line;
    runs(columns(others, window, n), (_, a, b) => context.fillRect(a * px, row.y, (b - a) * px, row.h));
  }
  if (!scale) return;
  runs(columns(cells, window, n), (cell, a, b) => {
    const shade = step(scale, cells.value[cell]);
    const [left, wide] = [a * px, (b - a) * px];
    context.fillStyle = (cells.lit[cell] ? palette.fill : palette.dim)[shade];
    context.fillRect(left, row.y, wide, row.h);
    if (!detail || wide < 5) return;
    context.fillStyle = color.panel;
    if (cells.from[cell] >= window.from) context.fillRect(left, row.y, 1, row.h);
    if (wide < 30) return;
    const region = placed.items[cells.top[cell]];
    const many = cells.count[cell] - 1;
    const name = region.expert === null ? region.name : `${region.name} · expert ${region.expert}`;
    context.fillStyle = cells.lit[cell] ? palette.ink[shade] : color.muted;
    const two = row.h >= 40;
    const middle = row.y + row.h / 2;
    context.fillText(fit(name, wide - 9), left + 5, two ? middle - 7 : middle);
    if (!two) return;
    const value =
      scale.metric === 'accesses' ? `${label('accesses', cells.value[cell])}×` : label(scale.metric, cells.value[cell]);
    const more = many ? `${value} · ${many} more here` : value;
    context.globalAlpha = 0.75;
    const text = more.length * ADVANCE <= wide - 9 ? more : value;
    if (text.length * ADVANCE <= wide - 9) context.fillText(text, left + 5, middle + 8);
    context.globalAlpha = 1;
  });
}

function places(context: CanvasRenderingContext2D, scene: Scene, row: Row) {
  const { axis, ink: color, width } = scene;
  for (const span of axis.spans) {
    const left = Math.max(0, at(scene, span.base));
    const right = Math.min(width, at(scene, span.base + span.bytes));
    if (right <= left) continue;
    context.fillStyle = color.raised;
    context.fillRect(left, row.y, Math.max(1, right - left - 1), row.h);
    context.fillStyle = color.text;
    const size = ` ${bytes(span.bytes)}`;
    const name = fileName(span.place);
    const all = (name.length + size.length) * ADVANCE < right - left - 8;
    context.fillText(fit(all ? name + size : name, right - left - 8), left + 5, row.y + row.h / 2 + 0.5);
  }
}

function layers(context: CanvasRenderingContext2D, scene: Scene) {
  const { layout, ink: color, width, bands, layer } = scene;
  const row = layout.bands;
  let drawn = -1;
  for (const band of bands) {
    const [from, to] = [at(scene, band.from), at(scene, band.to)];
    if (to <= 0 || from >= width) continue;
    const left = Math.max(0, from);
    const right = Math.min(width, to);
    const chosen = layer === band.layer;
    if (right < drawn + 0.5 && !chosen) continue;
    drawn = right;
    context.fillStyle = chosen ? color.accent : band.layer % 2 ? color.line : color.raised;
    context.fillRect(left, row.y, Math.max(1, right - left - (right - left > 4 ? 1 : 0)), row.h);
    const wide = right - left;
    const text = [`layer ${band.layer}`, String(band.layer)].find((t) => t.length * ADVANCE <= wide - 4);
    if (!text) continue;
    context.fillStyle = chosen ? color.panel : color.muted;
    context.textAlign = 'center';
    context.fillText(text, (left + right) / 2, row.y + row.h / 2 + 0.5);
    context.textAlign = 'left';
  }
}

/** Upper half: pages that were ever read. Lower half: pages in memory now. */
function pages(context: CanvasRenderingContext2D, scene: Scene, row: Row, states: State[]) {
  const { ink: color, ratio, width, window } = scene;
  const n = Math.max(1, Math.round(width * ratio));
  const px = width / n;
  context.fillStyle = color.raised;
  context.fillRect(0, row.y, width, row.h);
  const half = row.h / 2;
  runs(Int32Array.from(stateColumns(states, window.from, window.bytes, n)), (mask, a, b) => {
    const [x, w] = [a * px, (b - a) * px];
    if (mask & (1 << (READ | RESIDENT))) {
      context.fillStyle = color.both;
      context.fillRect(x, row.y, w, row.h);
    }
    if (mask & (1 << READ)) {
      context.fillStyle = color.cold;
      context.fillRect(x, row.y, w, half);
    }
    if (mask & (1 << RESIDENT)) {
      context.fillStyle = color.wasted;
      context.fillRect(x, row.y + half, w, half);
    }
  });
}

function marks(context: CanvasRenderingContext2D, scene: Scene, memory: string) {
  const { layout, ink: color, axis, window, width } = scene;
  const { y, h } = layout.axis;
  const room = memory === 'DISK' ? 80 : 120;
  let free = -1;
  for (const tick of ticks(axis, window, Math.floor(width / room))) {
    const x = at(scene, tick.position);
    const text = tickLabel(tick, memory);
    context.fillStyle = color.faint;
    context.fillRect(Math.round(x), y - 2, 1, 4);
    if (x < free || x + text.length * ADVANCE > width) continue;
    free = x + text.length * ADVANCE + 10;
    context.fillStyle = color.muted;
    context.fillText(text, Math.round(x) + (x < 3 ? 0 : 4), y + h / 2 + 1);
  }
}

function outlines(context: CanvasRenderingContext2D, scene: Scene) {
  const { layout, ink: color, placed, width, box } = scene;
  const row = layout.cells;
  const around = (from: number, to: number, stroke: string, line: number, flag: boolean) => {
    const [a, b] = [at(scene, from), at(scene, to)];
    if (b < 0 || a > width) return;
    const wide = Math.max(3, b - a);
    const left = b - a < 3 ? (a + b) / 2 - 1.5 : a;
    context.lineWidth = line + 2;
    context.strokeStyle = color.panel;
    context.strokeRect(left, row.y + 1, wide, row.h - 2);
    context.lineWidth = line;
    context.strokeStyle = stroke;
    context.strokeRect(left, row.y + 1, wide, row.h - 2);
    if (!flag) return;
    const middle = Math.min(width - 5, Math.max(5, (Math.max(0, a) + Math.min(width, b)) / 2));
    context.fillStyle = stroke;
    context.beginPath();
    context.moveTo(middle - 5, row.y - 3);
    context.lineTo(middle + 5, row.y - 3);
    context.lineTo(middle, row.y + 4);
    context.fill();
  };
  for (const i of scene.hovered) around(placed.from[i], placed.to[i], color.text, 1, false);
  for (const i of scene.selected) around(placed.from[i], placed.to[i], color.select, 2, true);
  if (scene.cursor) around(scene.cursor.from, scene.cursor.to, color.accent, 2, false);
  if (box && !box.overview) band(context, at(scene, box.from), at(scene, box.to), row, color);
}
