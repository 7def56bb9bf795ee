// Draws the ruler, the bars of the evaluations and the lanes under them.
import { count, time, tokenText } from '../../lib/format';
import { ticks, type Span } from './axis';
import { drawFlames } from './drawFlames';
import { kindOf, perToken, untimedShare, type Kind } from './lanes';
import type { Lane } from './layout';
import { pixel, type Scene } from './scene';
import { put, putFirst, shorten } from './text';
import { drawCover, hatch } from './cover';
import { mostOf, type Visible } from './visible';

/** Pixels between ticks, at least. */
const TICK_PX = 90;
/** Letters of a token's text that is cut, at least. */
const LEAST_LETTERS = 3;

export function drawScene(s: Scene) {
  const { g, layout, palette } = s;
  g.textBaseline = 'middle';
  g.font = `10.5px ${palette.sans}`;
  drawRuler(s);
  drawNames(s);
  g.save();
  g.beginPath();
  g.rect(layout.left, layout.ruler.y, layout.inner, layout.height);
  g.clip();
  drawBand(s);
  layout.rows.forEach((lane, i) => drawBars(s, lane, s.visible[i]));
  if (layout.flame.whole.h > 0) drawFlames(s);
  drawTimes(s);
  drawFaults(s, layout.minor, 'minor');
  drawFaults(s, layout.major, 'major');
  drawSelection(s);
  g.restore();
}

function drawRuler(s: Scene) {
  const { g, layout, palette } = s;
  const { y, h } = layout.ruler;
  const marks = ticks(s.span, TICK_PX / layout.inner, s.axis, s.session.timeline, s.lanes);
  g.fillStyle = palette.muted;
  for (const { at, label } of marks.ticks) {
    const x = pixel(s, at);
    g.globalAlpha = 0.55;
    g.fillStyle = palette.line;
    g.fillRect(Math.round(x), y, 1, layout.height - y);
    g.globalAlpha = 1;
    g.fillStyle = palette.muted;
    if (x + 4 + g.measureText(label).width < layout.left + layout.inner) g.fillText(label, x + 4, y + h / 2);
  }
  g.fillStyle = palette.muted;
  g.textAlign = 'right';
  g.fillText(marks.base ?? (s.axis.kind === 'time' ? 'time' : 'token'), layout.left - 8, y + h / 2);
  g.textAlign = 'left';
  g.fillStyle = palette.line;
  g.fillRect(0, y, layout.width, 1);
}

/** The lanes' names, and what their height means. */
function drawNames(s: Scene) {
  const { g, layout, palette, lanes } = s;
  const name = (lane: Lane, text: string, under?: string) => {
    if (lane.h < 8) return;
    const two = under !== undefined && lane.h >= 24;
    g.fillStyle = palette.muted;
    g.fillText(two || under === undefined ? text : under, 8, lane.y + (two ? 9 : lane.h / 2));
    if (!two) return;
    g.fillStyle = palette.faint;
    g.fillText(under, 8, lane.y + 21);
  };
  name(layout.overview, 'whole run');
  layout.rows.forEach((lane, i) => {
    const { contexts } = lanes.rows[i];
    const more = contexts.length > 1 ? ` +${contexts.length - 1}` : '';
    name(lane, layout.rows.length > 1 ? `context ${contexts[0]}${more}` : 'evaluations');
  });
  if (layout.flame.whole.h > 40) {
    name(layout.flame.layers, 'layer');
    name(layout.flame.blocks, 'block');
    name(layout.flame.operators, 'operator');
  }
  // Round numbers need no zeros behind the point.
  const ceiling = time(Math.max(1, ...s.visible.map((v) => v.ceiling))).replace(/\.0+ /, ' ');
  name(layout.times, 'time / token', `≤ ${ceiling}`);
  name(layout.minor, 'minor faults');
  name(layout.major, 'major faults');
}

function fillBar(s: Scene, kind: Kind, x: number, y: number, w: number, h: number) {
  s.g.fillStyle = kind === 'prompt' ? s.stripes : s.palette.kind[kind];
  s.g.fillRect(x, y, w, h);
}

function drawBars(s: Scene, { y, h }: Lane, seen: Visible) {
  const { g, layout, palette } = s;
  const t = s.session.timeline;
  g.globalAlpha = 0.5;
  g.fillStyle = palette.raised;
  g.fillRect(layout.left, y, layout.inner, h);
  drawCover(g, s, seen.columns, layout.left, y, h);
  g.font = `11px ${palette.mono}`;
  for (const { seq, x0, x1 } of seen.bars) {
    const kind = kindOf(t, seq);
    const [from, to] = [Math.max(x0, 0), Math.min(x1, layout.inner)];
    const gap = x1 - x0 > 3 ? 1 : 0;
    const x = layout.left + from;
    const width = Math.max(1, to - from - gap);
    const hovered = s.hover?.kind === 'evaluation' && s.hover.seq === seq;
    fillBar(s, kind, x, y, width, h);
    hatch(g, s.untimed, x, y, width, h, untimedShare(t, seq));
    if (hovered) {
      g.globalAlpha = 0.22;
      g.fillStyle = palette.text;
      g.fillRect(x, y, width, h);
      g.globalAlpha = 1;
    }
    if (t.status[seq] !== 0) {
      g.fillStyle = palette.bad;
      g.fillRect(x, y + h - 3, width, 3);
    }
    if (width >= 12 && h >= 11) drawLabel(s, seq, kind, x, y, width, h, x1 - x0);
  }
  g.font = `10.5px ${palette.sans}`;
}

function drawLabel(s: Scene, seq: number, kind: Kind, x: number, y: number, width: number, h: number, whole: number) {
  const { g, palette, session } = s;
  const t = session.timeline;
  const [first, n] = [t.first_token[seq], t.n_tokens[seq]];
  const middle = y + h / 2 + 0.5;
  if (kind === 'other') {
    g.fillStyle = palette.onKind.other;
    putFirst(g, ['no tokens'], x + 4, middle, width - 6);
    return;
  }
  if (s.axis.kind === 'tokens' && n > 1 && whole / n >= 12) return drawTokens(s, seq, kind, y, h);
  if (kind === 'prompt') {
    // A plain ground under the letters: stripes are hard to read on.
    const texts = [`PROMPT · ${n} tokens · ${time(t.dur_ns[seq])}`, `PROMPT · ${n}`, `${n} tok`, String(n)];
    const text = texts.find((text) => g.measureText(text).width <= width - 8);
    if (text === undefined) return;
    g.fillStyle = palette.kind.prompt;
    g.fillRect(x + 3, y + 2, g.measureText(text).width + 6, h - 4);
    g.fillStyle = palette.onKind.prompt;
    g.fillText(text, x + 6, middle);
    return;
  }
  const texts: string[] = [];
  for (let token = first; token < first + Math.min(n, 8); token++) texts.push(textOf(s, token));
  const pad = width < 22 ? 2 : 5;
  // Of a text that is cut, so much that it says something.
  const text = shorten(texts.join(' · '), width - pad - 1, (part) => g.measureText(part).width, LEAST_LETTERS);
  const shown = g.measureText(text).width;
  const hatched = t.untimed[seq] > 0;
  if (hatched && text) ground(s, kind, x + pad - 2, y, shown + 4, h);
  g.fillStyle = palette.onKind[kind];
  g.fillText(text, x + pad, middle);
  const dur = time(t.dur_ns[seq]);
  const room = width - shown - 3 * pad - g.measureText(dur).width;
  if (room < 8) return;
  if (hatched) ground(s, kind, x + width - pad - g.measureText(dur).width - 2, y, g.measureText(dur).width + 4, h);
  g.fillStyle = palette.onKind[kind];
  g.globalAlpha = 0.7;
  g.fillText(dur, x + width - pad - g.measureText(dur).width, middle);
  g.globalAlpha = 1;
}

/** A plain ground for letters on a bar that is hatched. */
function ground({ g, palette }: Scene, kind: Kind, x: number, y: number, width: number, h: number) {
  g.fillStyle = palette.kind[kind];
  g.fillRect(x, y + 2, width, h - 4);
}

/** Texts of the tokens of one evaluation side by side: on the axis of tokens each has its place. */
function drawTokens(s: Scene, seq: number, kind: Kind, y: number, h: number) {
  const { g, palette, layout } = s;
  const t = s.session.timeline;
  const begin = s.axis.begin(seq);
  const from = Math.max(0, Math.floor(s.span.from - begin));
  const to = Math.min(t.n_tokens[seq], Math.ceil(s.span.to - begin));
  for (let i = from; i < to; i++) {
    const [x0, x1] = [pixel(s, begin + i), pixel(s, begin + i + 1)];
    if (i > 0) {
      g.fillStyle = palette.panel;
      g.globalAlpha = 0.5;
      g.fillRect(x0 - 1, y, 1, h);
      g.globalAlpha = 1;
    }
    if (x0 > layout.left + layout.inner) break;
    const text = textOf(s, t.first_token[seq] + i);
    if (text === '') continue;
    g.fillStyle = palette.kind[kind];
    g.fillRect(x0 + 1, y + 2, Math.min(x1 - x0 - 3, g.measureText(text).width + 4), h - 4);
    g.fillStyle = palette.onKind[kind];
    put(g, text, x0 + 3, y + h / 2 + 0.5, x1 - x0 - 4);
  }
}

function textOf(s: Scene, token: number): string {
  const known = s.session.token(token);
  if (!known) return '';
  return tokenText(s.session.textOf(known.number)) || (known.id === null ? '' : `#${known.id}`);
}

function drawTimes(s: Scene) {
  const { g, layout, palette } = s;
  const { y, h } = layout.times;
  const t = s.session.timeline;
  const ceiling = Math.max(1, ...s.visible.map((v) => v.ceiling));
  g.fillStyle = palette.line;
  g.fillRect(layout.left, y + h, layout.inner, 1);
  g.globalAlpha = 0.5;
  if (h > 28) g.fillRect(layout.left, Math.round(y + h / 2), layout.inner, 1);
  g.globalAlpha = 1;
  const bar = (kind: Kind, x: number, w: number, ns: number, alpha: number) => {
    const high = Math.max(1, Math.min(1, ns / ceiling) * (h - 1));
    g.globalAlpha = alpha;
    fillBar(s, kind, x, y + h - high, w, high);
    g.globalAlpha = 1;
    if (ns <= ceiling * 1.001) return;
    // It sticks out: cut, and said so.
    g.fillStyle = palette.bad;
    g.fillRect(x, y, w, 2);
  };
  for (const { bars, columns } of s.visible) {
    for (let x = 0; x < columns.width; x++) {
      if (columns.count[x] === 0) continue;
      const kind = mostOf(columns, x);
      bar(kind, layout.left + x, 1, columns.longest[x], 0.4);
      bar(kind, layout.left + x, 1, Math.min(ceiling, columns.sum[x] / columns.count[x]), 1);
    }
    for (const { seq, x0, x1 } of bars) {
      const gap = x1 - x0 > 3 ? 1 : 0;
      bar(kindOf(t, seq), layout.left + x0, Math.max(1, x1 - x0 - gap), perToken(t, seq), 0.85);
    }
  }
}

/** Page faults: few and very many are both to be seen, so the height is logarithmic. */
function drawFaults(s: Scene, { y, h }: Lane, which: 'minor' | 'major') {
  const { g, layout, palette } = s;
  const faults = which === 'minor' ? s.session.timeline.minor_faults : s.session.timeline.major_faults;
  const most = Math.max(0, ...s.visible.map((v) => (which === 'minor' ? v.mostMinor : v.mostMajor)));
  g.fillStyle = palette.line;
  g.fillRect(layout.left, y + h, layout.inner, 1);
  if (most === 0) {
    g.fillStyle = palette.faint;
    g.fillText('none', layout.left + 6, y + h / 2);
    return;
  }
  const high = (n: number) => Math.max(2, (Math.log1p(n) / Math.log1p(most)) * (h - 1));
  const color = which === 'minor' ? palette.muted : palette.bad;
  for (const { bars, columns } of s.visible) {
    g.fillStyle = color;
    columns[which].forEach((n, x) => {
      if (n > 0) g.fillRect(layout.left + x, y + h - high(n), 1, high(n));
    });
    for (const { seq, x0, x1 } of bars) {
      const n = faults[seq];
      if (n === 0) continue;
      const [x, width] = [layout.left + Math.max(0, x0), Math.max(1, Math.min(x1, layout.inner) - Math.max(0, x0) - 1)];
      g.globalAlpha = 0.75;
      g.fillStyle = color;
      g.fillRect(x, y + h - high(n), width, high(n));
      g.globalAlpha = 1;
      const text = count(n);
      if (width < g.measureText(text).width + 6 || h < 12) continue;
      g.fillStyle = palette.panel;
      g.fillText(text, x + 3, y + h / 2 + 1);
    }
  }
}

/** Ground of the selected tokens in all lanes. */
function drawBand(s: Scene) {
  if (!s.selected) return;
  const { x, width, y, h } = bandOf(s, s.selected);
  s.g.globalAlpha = 0.12;
  s.g.fillStyle = s.palette.select;
  s.g.fillRect(x, y, width, h);
  s.g.globalAlpha = 1;
}

function bandOf(s: Scene, { from, to }: Span) {
  const { layout } = s;
  const y = layout.rows[0]?.y ?? layout.times.y;
  // Far outside, numbers get too large for a canvas.
  const x = Math.max(layout.left - 10, pixel(s, from));
  const end = Math.min(layout.left + layout.inner + 10, pixel(s, to));
  return { x, y, width: Math.max(2, end - x), h: layout.major.y + layout.major.h - y, seen: end > layout.left - 2 };
}

function drawSelection(s: Scene) {
  const { g, layout, palette } = s;
  for (const part of [s.selected, s.dragged]) {
    if (!part) continue;
    const { x, y, width, h, seen } = bandOf(s, part);
    if (!seen || x > layout.left + layout.inner) continue;
    g.fillStyle = palette.select;
    g.fillRect(x - 1, y - 4, width + 1, 4);
    g.strokeStyle = palette.select;
    g.lineWidth = 1.5;
    g.strokeRect(x - 0.75, y - 1, width + 0.5, h + 2);
    if (part !== s.dragged) continue;
    g.globalAlpha = 0.22;
    g.fillRect(x, y, width, h);
    g.globalAlpha = 1;
  }
}
