// Draws the operators of the tokens that are wide enough: layers over blocks over operators.
import { inkOn, opColor } from '../../lib/colors';
import { time } from '../../lib/format';
import { baseName } from './blocks';
import { wantedOperators, type Flame, type GroupPart, type OperatorPart, type UnknownPart } from './flame';
import { untimedShare } from './lanes';
import type { Lane } from './layout';
import type { OpenBar, Scene } from './scene';
import { put, putFirst } from './text';

/** How much of their colour is left to parts that are not selected. */
const STEPPED_BACK = 0.22;
/** What is narrower, in pixels, is left out. */
const LEAST_PART = 0.1;

export function drawFlames(s: Scene) {
  const { g, layout, palette } = s;
  const { whole } = layout.flame;
  g.save();
  g.beginPath();
  g.rect(layout.left, whole.y, layout.inner, whole.h);
  g.clip();
  g.globalAlpha = 0.35;
  g.fillStyle = palette.raised;
  g.fillRect(layout.left, whole.y, layout.inner, whole.h);
  g.globalAlpha = 1;
  if (s.open.length === 0) drawHint(s);
  for (const bar of s.open) {
    if (typeof bar.entry === 'object' && 'operators' in bar.entry) drawFlame(s, bar, bar.entry);
    else drawMissing(s, bar);
  }
  g.restore();
}

/** Why there are no operators, and how to get to them. */
function drawHint(s: Scene) {
  const { g, layout, palette } = s;
  const { y, h } = layout.flame.whole;
  drawUntimed(s);
  if (s.hint === null) return;
  const shown = Math.min(layout.inner - 16, g.measureText(s.hint).width);
  g.fillStyle = palette.panel;
  g.fillRect(layout.left + 4, y + h / 2 - 8, shown + 8, 16);
  g.fillStyle = palette.muted;
  put(g, s.hint, layout.left + 8, y + h / 2, layout.inner - 16, 6);
}

/** Where nobody knows the times of any operator there is nothing to zoom to: hatched at any distance. */
function drawUntimed(s: Scene) {
  const { g, layout } = s;
  const { y, h } = layout.flame.whole;
  const t = s.session.timeline;
  g.fillStyle = s.hatch;
  for (const { bars, columns } of s.visible) {
    for (const { seq, x0, x1 } of bars) {
      if (untimedShare(t, seq) === 1) g.fillRect(layout.left + x0, y, Math.max(1, x1 - x0), h);
    }
    columns.untimed.forEach((part, x) => part > 0 && g.fillRect(layout.left + x, y, 1, h));
  }
}

function drawMissing(s: Scene, { x0, x1, entry }: OpenBar) {
  const { g, layout, palette } = s;
  const { y, h } = layout.flame.whole;
  const from = layout.left + Math.max(0, x0);
  const width = layout.left + Math.min(layout.inner, x1) - from;
  g.strokeStyle = palette.line;
  g.strokeRect(from + 0.5, y + 0.5, width - 2, h - 1);
  const failed = typeof entry === 'object' && 'error' in entry;
  g.fillStyle = failed ? palette.bad : palette.muted;
  put(
    g,
    failed ? `its operators did not come: ${entry.error}` : 'asking for its operators…',
    from + 8,
    y + h / 2,
    width - 16,
    6,
  );
}

function drawFlame(s: Scene, bar: OpenBar, flame: Flame) {
  const { g, layout, palette } = s;
  const { layers, blocks, operators } = layout.flame;
  const scale = (bar.x1 - bar.x0) / Math.max(1, flame.dur_ns);
  const x = (ns: number) => layout.left + bar.x0 + ns * scale;
  const chosen = wantedOperators(flame, s.wanted);
  const isChosen = ({ first, last }: GroupPart) => {
    if (!chosen) return true;
    for (let i = first; i <= last; i++) if (chosen.has(i)) return true;
    return false;
  };
  const inside = (from: number, to: number) => to >= layout.left && from <= layout.left + layout.inner;
  const marks: (() => void)[] = [];
  const mark = (x0: number, x1: number, lane: Lane, color: string) => marks.push(() => outline(s, x0, x1, lane, color));

  g.font = `10.5px ${palette.sans}`;
  for (const [list, lane] of [
    [flame.layers, layers],
    [flame.blocks, blocks],
  ] as const) {
    list.forEach((part, i) => {
      const [x0, x1] = [x(part.start), x(part.end)];
      if (!inside(x0, x1) || x1 - x0 < LEAST_PART) return;
      const color = part.block ? palette.block[part.block] : i % 2 ? palette.line : palette.raised;
      const alpha = isChosen(part) ? 1 : STEPPED_BACK;
      slice(s, x0, x1, lane, color, alpha);
      label(s, groupTexts(part), x0, x1, lane, alpha < 1 ? palette.muted : part.block ? inkOn(color) : palette.text);
      if (s.hover !== null && 'part' in s.hover && s.hover.part === part) mark(x0, x1, lane, palette.text);
      else if (!part.block && part.layer !== null && part.layer === s.wanted.layer) mark(x0, x1, lane, palette.select);
    });
  }
  g.font = `10.5px ${palette.mono}`;
  const narrowed = s.wanted.tensor !== null || s.wanted.op !== null;
  flame.operators.forEach((part, i) => {
    const [x0, x1] = [x(part.start), x(part.end)];
    const selected = chosen?.has(i) ?? false;
    if (!inside(x0, x1) || (x1 - x0 < LEAST_PART && !selected)) return;
    const color = opColor(part.tensor?.op ?? '');
    const alpha = !chosen || selected ? 1 : STEPPED_BACK;
    slice(s, x0, x1, operators, color, alpha);
    label(s, operatorTexts(flame, part), x0, x1, operators, alpha < 1 ? palette.muted : inkOn(color));
    if (isPointed(s, flame, part)) mark(x0, x1, operators, palette.text);
    else if (selected && narrowed) mark(x0, x1, operators, palette.select);
  });
  for (const draw of marks) draw();
  for (const part of flame.unknown) drawUnknown(s, part, x(part.start), x(part.end));
}

function slice(s: Scene, x0: number, x1: number, { y, h }: Lane, color: string, alpha: number) {
  const { g, layout } = s;
  const from = Math.max(x0, layout.left - 2);
  const width = Math.min(x1, layout.left + layout.inner + 2) - from;
  g.globalAlpha = alpha;
  g.fillStyle = color;
  g.fillRect(from, y, Math.max(0.5, width > 3 ? width - 0.75 : width), h - 1);
  g.globalAlpha = 1;
}

/** Around a part that is selected or pointed at; also one that is too narrow to be seen shows it. */
function outline(s: Scene, x0: number, x1: number, { y, h }: Lane, color: string) {
  const { g, layout } = s;
  const from = Math.max(x0, layout.left - 2);
  const width = Math.min(x1, layout.left + layout.inner + 2) - from;
  g.strokeStyle = color;
  g.lineWidth = 1.5;
  if (width >= 5) return g.strokeRect(from + 0.5, y + 0.5, width - 1.5, h - 2);
  g.fillStyle = color;
  g.fillRect(from - 0.5, y - 1, Math.max(1.5, width), h + 1);
}

/** The first wording that fits; the last is shortened. Stays in sight while its part reaches over the left border. */
function label(s: Scene, texts: string[], x0: number, x1: number, { y, h }: Lane, ink: string) {
  const { g, layout } = s;
  const from = Math.max(x0, layout.left) + 3;
  const width = Math.min(x1, layout.left + layout.inner) - from - 2;
  if (width < 8 || h < 10) return;
  g.fillStyle = ink;
  const middle = y + h / 2;
  if (!putFirst(g, texts, from, middle, width) && width > 24) put(g, texts[texts.length - 1], from, middle, width, 3);
}

function groupTexts(part: GroupPart): string[] {
  const short = part.block ? { attention: 'attn', 'feed-forward': 'ffn', norm: 'norm', other: '' }[part.block] : '';
  const number = part.layer === null ? '' : String(part.layer);
  return [`${part.label}  ${time(part.ns)}`, part.label, part.block ? short : number].filter((text) => text !== '');
}

function operatorTexts(flame: Flame, part: OperatorPart): string[] {
  const { tensor } = part;
  const name = tensor?.name || `#${part.node}`;
  const op = tensor?.op ?? '';
  const fused = part.fused.map((node) => flame.tensors.get(node)?.op ?? `#${node}`);
  const ops = [...fused, op].join('+');
  const dur = time(part.end - part.start);
  return [`${name}  ${ops}  ${dur}`, `${name}  ${ops}`, `${name}  ${op}`, name, baseName(name)];
}

function isPointed(s: Scene, flame: Flame, part: OperatorPart): boolean {
  if (s.hover?.kind === 'operator') return s.hover.part === part;
  const pointed = s.pointed;
  if (!pointed || pointed.graph !== flame.graph.graph) return false;
  return flame.byNode.get(pointed.node) !== undefined && flame.operators[flame.byNode.get(pointed.node)!] === part;
}

/** Executed, and nobody knows when within this time: hatched over all three rows. */
function drawUnknown(s: Scene, part: UnknownPart, x0: number, x1: number) {
  const { g, layout, palette } = s;
  const { y, h } = layout.flame.whole;
  const from = Math.max(x0, layout.left);
  const width = Math.min(x1, layout.left + layout.inner) - from;
  if (width <= 0) return;
  g.fillStyle = s.hatch;
  g.fillRect(from, y, width, h);
  g.strokeStyle = s.hover !== null && 'part' in s.hover && s.hover.part === part ? palette.text : palette.line;
  g.strokeRect(from + 0.5, y + 0.5, width - 1, h - 1);
  g.font = `10.5px ${palette.sans}`;
  const n = part.nodes.length;
  const text = [`${n} operators: their times are not known`, 'times not known', '?'].find(
    (text) => g.measureText(text).width <= width - 16,
  );
  if (!text) return;
  const wide = g.measureText(text).width;
  g.fillStyle = palette.panel;
  g.fillRect(from + 5, y + h / 2 - 8, wide + 8, 16);
  g.fillStyle = palette.muted;
  g.fillText(text, from + 9, y + h / 2);
}
