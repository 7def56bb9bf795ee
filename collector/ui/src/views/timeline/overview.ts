// The whole run in one lane, with the window on it as a brush. The picture of the run is kept until the run grows.
import { fit } from './axis';
import { drawCover, hatch } from './cover';
import { kindOf, perToken, untimedShare, type Kind } from './lanes';
import type { Scene } from './scene';
import { mostOf, visible } from './visible';

/** Pixels around an edge of the brush where it can be taken. */
const EDGE_PX = 6;
/** Long runs that grow are drawn anew not more often than this. */
const LONG = 20_000;
const LONG_MS = 500;

export class Overview {
  private readonly canvas = document.createElement('canvas');
  private key = '';
  private drawn = 0;
  private length = 0;

  /** Draws it; returns whether it is behind and wants to be drawn again soon. */
  draw(s: Scene, ratio: number): boolean {
    const { g, layout } = s;
    const { y, h } = layout.overview;
    const key = [s.session.id, s.axis.kind, layout.inner, h, ratio, JSON.stringify(s.palette.kind)].join();
    const grown = s.lanes.length !== this.length;
    const wait = s.lanes.length > LONG ? LONG_MS - (performance.now() - this.drawn) : 0;
    const behind = grown && wait > 0;
    if (key !== this.key || (grown && !behind)) {
      this.paint(s, ratio);
      [this.key, this.length, this.drawn] = [key, s.lanes.length, performance.now()];
    }
    g.drawImage(this.canvas, layout.left, y, layout.inner, h);
    this.brush(s);
    return behind;
  }

  private paint(s: Scene, ratio: number) {
    const { layout, palette } = s;
    const { h } = layout.overview;
    this.canvas.width = Math.max(1, Math.round(layout.inner * ratio));
    this.canvas.height = Math.max(1, Math.round(h * ratio));
    const g = this.canvas.getContext('2d', { willReadFrequently: true })!;
    g.scale(ratio, ratio);
    g.fillStyle = palette.raised;
    g.fillRect(0, 0, layout.inner, h);
    const strip = Math.max(5, Math.round(h * 0.3));
    const t = s.session.timeline;
    const fill = (kind: Kind) => (g.fillStyle = kind === 'prompt' ? s.stripes : palette.kind[kind]);
    for (const row of s.lanes.rows) {
      const { bars, columns, ceiling } = visible(t, row, s.axis, fit(s.axis), layout.inner);
      const high = (ns: number) => Math.max(1, Math.min(1, ns / ceiling) * (h - strip - 2));
      const time = (kind: Kind, x: number, w: number, ns: number) => {
        fill(kind);
        g.globalAlpha = 0.6;
        g.fillRect(x, h - high(ns), w, high(ns));
        g.globalAlpha = 1;
      };
      drawCover(g, s, columns, 0, 0, strip);
      columns.count.forEach((n, x) => {
        if (n > 0) time(mostOf(columns, x), x, 1, columns.sum[x] / n);
      });
      for (const { seq, x0, x1 } of bars) {
        const kind = kindOf(t, seq);
        time(kind, x0, x1 - x0, perToken(t, seq));
        g.fillRect(x0, 0, x1 - x0, strip);
        hatch(g, s.untimed, x0, 0, x1 - x0, strip, untimedShare(t, seq));
      }
    }
  }

  private brush(s: Scene) {
    const { g, layout, palette } = s;
    const { y, h } = layout.overview;
    const { x0, x1 } = brushOf(s);
    const right = layout.left + layout.inner;
    g.globalAlpha = 0.62;
    g.fillStyle = palette.panel;
    g.fillRect(layout.left, y, x0 - layout.left, h);
    g.fillRect(x1, y, right - x1, h);
    g.globalAlpha = 1;
    for (const part of [s.selected, s.dragged]) {
      if (!part) continue;
      g.fillStyle = palette.select;
      const from = overviewPixel(s, part.from);
      g.fillRect(from - 0.5, y, Math.max(2, overviewPixel(s, part.to) - from), 3);
      g.fillRect(from - 0.5, y + h - 2, Math.max(2, overviewPixel(s, part.to) - from), 2);
    }
    g.strokeStyle = palette.accent;
    g.lineWidth = 1;
    g.strokeRect(x0 + 0.5, y + 0.5, Math.max(1, x1 - x0 - 1), h - 1);
    g.fillStyle = palette.accent;
    for (const x of [x0, x1 - 3]) g.fillRect(x, y + h * 0.2, 3, h * 0.6);
  }
}

/** Pixel of a place on the axis in the overview. */
export function overviewPixel({ axis, layout }: Pick<Scene, 'axis' | 'layout'>, at: number): number {
  const all = fit(axis);
  return layout.left + ((at - all.from) / (all.to - all.from)) * layout.inner;
}

/** Place on the axis of a pixel of the overview. */
export function overviewPlace({ axis, layout }: Pick<Scene, 'axis' | 'layout'>, x: number): number {
  const all = fit(axis);
  return all.from + ((x - layout.left) / layout.inner) * (all.to - all.from);
}

/** The brush, never too narrow to be seen. */
export function brushOf(s: Pick<Scene, 'axis' | 'layout' | 'span'>): { x0: number; x1: number } {
  const [x0, x1] = [overviewPixel(s, s.span.from), overviewPixel(s, s.span.to)];
  const more = Math.max(0, 8 - (x1 - x0)) / 2;
  const right = s.layout.left + s.layout.inner;
  return {
    x0: Math.max(s.layout.left, Math.min(right - 8, x0 - more)),
    x1: Math.min(right, Math.max(x1 + more, s.layout.left + 8)),
  };
}

/** What a press at `x` takes of the brush. */
export function brushPart(
  s: Pick<Scene, 'axis' | 'layout' | 'span'>,
  x: number,
): 'left' | 'right' | 'inside' | 'outside' {
  const { x0, x1 } = brushOf(s);
  const edge = Math.min(EDGE_PX, (x1 - x0) / 3);
  if (Math.abs(x - x0) <= edge) return 'left';
  if (Math.abs(x - x1) <= edge) return 'right';
  return x > x0 && x < x1 ? 'inside' : 'outside';
}
