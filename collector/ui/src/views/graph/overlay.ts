// What is drawn over the boxes: names, open and close marks, and what is selected, pointed at or in focus.
import { HEADER, type Layout } from './layout';
import { BOLD_FONT, FONT, SMALL_FONT, type Label } from './labels';
import type { Paint, Palette } from './paint';
import { css } from './paint';
import type { Visible } from './visible';

export interface Scene {
  visible: Visible;
  layout: Layout;
  labels: Label[];
  paint: Paint;
  palette: Palette;
  /** Whether edges between layers are dashed. */
  dashed: boolean;
}

/** From layout to screen: `screen = layout * scale + offset`. */
export interface View {
  scale: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** What stands out; -1 is nothing. */
export interface Marks {
  selected: number;
  focus: number;
  hover: number;
  /** Edges that begin or end at what is selected or pointed at. */
  edges: number[];
  /** Found by the search. */
  found: ReadonlySet<number>;
}

/** Side of the square that opens and closes a group. */
export const MARK = 14;

/** The mark of a group: its upper left corner within the box. */
export function markOf(kind: 'group' | 'frame', width: number): { x: number; y: number } {
  return kind === 'frame' ? { x: 7, y: 6 } : { x: width - MARK - 6, y: 6 };
}

/** Draws all of it; returns how many names were drawn. */
export function drawOverlay(
  ctx: CanvasRenderingContext2D,
  dpr: number,
  scene: Scene,
  view: View,
  marks: Marks,
): number {
  const { layout, visible, labels, paint, palette } = scene;
  const { scale } = view;
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, ctx.canvas.width, ctx.canvas.height);
  ctx.setTransform(dpr * scale, 0, 0, dpr * scale, dpr * view.x, dpr * view.y);
  const [left, top] = [-view.x / scale, -view.y / scale];
  const [right, bottom] = [left + view.width / scale, top + view.height / scale];

  drawEdges(ctx, scene, marks, scale);

  ctx.textBaseline = 'middle';
  const small = 12 * scale < 4.6;
  const far = 12 * scale < 3;
  let drawn = 0;
  for (let i = 0; i < visible.nodes.length; i++) {
    const [x, y, w, h] = [layout.x[i], layout.y[i], layout.width[i], layout.height[i]];
    if (x > right || y > bottom || x + w < left || y + h < top) continue;
    const node = visible.nodes[i];
    const label = labels[i];
    if (node.kind === 'frame') {
      if (far) drawn += bigTitle(ctx, label.title, node.parent < 0, x, y, w, h, scale, paint.detail[i]);
      else if (!small) drawn += frameTitle(ctx, label, x, y, w, paint.text[i], paint.detail[i], css(palette.muted));
      continue;
    }
    if (node.kind === 'group') {
      drawn += groupTitle(ctx, label, x, y, w, h, scale, paint.text[i], paint.detail[i], paint.detail[i]);
      continue;
    }
    if (small) continue;
    const middle = y + h / 2 + 0.5;
    ctx.font = FONT;
    ctx.textAlign = 'left';
    ctx.fillStyle = paint.text[i];
    ctx.fillText(label.title, x + 11, middle);
    ctx.font = SMALL_FONT;
    ctx.textAlign = 'right';
    ctx.fillStyle = paint.detail[i];
    ctx.fillText(label.detail, x + w - 10, middle);
    drawn++;
  }

  for (const i of marks.found) outline(ctx, layout, i, css(palette.select, 0.75), 1.5, scale);
  outline(ctx, layout, marks.hover, css(palette.text, 0.7), 1.2, scale);
  outline(ctx, layout, marks.focus, css(palette.accent), 2, scale, [5, 3]);
  outline(ctx, layout, marks.selected, css(palette.select), 2.5, scale);
  return drawn;
}

function drawEdges(ctx: CanvasRenderingContext2D, { layout, visible, palette }: Scene, marks: Marks, scale: number) {
  if (marks.edges.length === 0) return;
  const about = marks.hover >= 0 ? marks.hover : marks.selected >= 0 ? marks.selected : marks.focus;
  const done = new Set<number>();
  ctx.lineWidth = Math.max(1.8, 2 / scale);
  for (const edge of marks.edges) {
    ctx.strokeStyle = css(visible.edges[edge].to === about ? palette.category.input : palette.accent, 0.95);
    for (const part of layout.parts[edge]) {
      if (done.has(part)) continue;
      done.add(part);
      const { curve } = layout.segments[part];
      ctx.beginPath();
      ctx.moveTo(curve[0], curve[1]);
      for (let k = 2; k < curve.length; k += 6)
        ctx.bezierCurveTo(curve[k], curve[k + 1], curve[k + 2], curve[k + 3], curve[k + 4], curve[k + 5]);
      ctx.stroke();
    }
  }
}

function frameTitle(
  ctx: CanvasRenderingContext2D,
  label: Label,
  x: number,
  y: number,
  w: number,
  text: string,
  detail: string,
  line: string,
): number {
  mark(ctx, x + 7, y + 6, false, line);
  ctx.textAlign = 'left';
  ctx.font = BOLD_FONT;
  ctx.fillStyle = text;
  const middle = y + HEADER / 2 + 0.5;
  ctx.fillText(label.title, x + 27, middle);
  const used = 27 + ctx.measureText(label.title).width + 10;
  ctx.font = SMALL_FONT;
  if (used + ctx.measureText(label.detail).width < w - 8) {
    ctx.fillStyle = detail;
    ctx.fillText(label.detail, x + used, middle + 0.5);
  }
  return 1;
}

function groupTitle(
  ctx: CanvasRenderingContext2D,
  label: Label,
  x: number,
  y: number,
  w: number,
  h: number,
  scale: number,
  text: string,
  detail: string,
  line: string,
): number {
  // Far away the name alone is written, as large as the box lets it.
  if (scale < 0.55) {
    const size = Math.min(24, 11 / scale, (w - 12) / (label.title.length * 0.62));
    if (size * scale < 5) return 0;
    ctx.textAlign = 'center';
    ctx.font = BOLD_FONT.replace('12px', `${size}px`);
    ctx.fillStyle = text;
    ctx.fillText(label.title, x + w / 2, y + h / 2 + 1);
    return 1;
  }
  ctx.textAlign = 'left';
  ctx.font = BOLD_FONT;
  ctx.fillStyle = text;
  ctx.fillText(label.title, x + 12, y + 13.5);
  ctx.font = SMALL_FONT;
  ctx.fillStyle = detail;
  ctx.fillText(label.detail, x + 12, y + 28);
  const at = markOf('group', w);
  mark(ctx, x + at.x, y + at.y, true, line);
  return 1;
}

/** Where a frame's own title is too small to be read, one as large as the frame lets it. */
function bigTitle(
  ctx: CanvasRenderingContext2D,
  title: string,
  outermost: boolean,
  x: number,
  y: number,
  w: number,
  h: number,
  scale: number,
  color: string,
): number {
  if (!outermost || w * scale < 28) return 0;
  const size = Math.min(20, Math.max(9, (w * scale) / 9)) / scale;
  ctx.textAlign = 'center';
  ctx.font = BOLD_FONT.replace('12px', `${size}px`);
  ctx.fillStyle = color;
  ctx.fillText(title, x + w / 2, y + h / 2);
  return 1;
}

function mark(ctx: CanvasRenderingContext2D, x: number, y: number, plus: boolean, color: string) {
  ctx.strokeStyle = color;
  ctx.lineWidth = 1.2;
  ctx.beginPath();
  ctx.roundRect(x + 0.5, y + 0.5, MARK - 1, MARK - 1, 3);
  ctx.moveTo(x + 4, y + MARK / 2);
  ctx.lineTo(x + MARK - 4, y + MARK / 2);
  if (plus) {
    ctx.moveTo(x + MARK / 2, y + 4);
    ctx.lineTo(x + MARK / 2, y + MARK - 4);
  }
  ctx.stroke();
}

function outline(
  ctx: CanvasRenderingContext2D,
  layout: Layout,
  i: number,
  color: string,
  width: number,
  scale: number,
  dash: number[] = [],
) {
  if (i < 0 || i >= layout.x.length) return;
  const away = 2 / Math.max(scale, 0.2);
  ctx.strokeStyle = color;
  ctx.lineWidth = width / scale;
  ctx.setLineDash(dash.map((d) => d / scale));
  ctx.beginPath();
  const [w, h] = [layout.width[i] + 2 * away, layout.height[i] + 2 * away];
  ctx.roundRect(layout.x[i] - away, layout.y[i] - away, w, h, Math.min(7, h / 2));
  ctx.stroke();
  ctx.setLineDash([]);
}
