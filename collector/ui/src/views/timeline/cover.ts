// Draws evaluations that are narrower than a pixel: how much of each column they cover, and how much of that nobody knows
// the operators' times of.
import type { Kind } from './lanes';
import type { Scene } from './scene';
import type { Columns } from './visible';

/** The last is drawn over the others: a prompt is rare, and what divides a run. */
const KINDS: Kind[] = ['other', 'unknown', 'generate', 'prompt'];
/** Lower hatching than this, in pixels, is not seen as such. */
const LEAST_HATCH = 3;

export function drawCover(
  g: CanvasRenderingContext2D,
  { stripes, untimed, palette }: Pick<Scene, 'stripes' | 'untimed' | 'palette'>,
  columns: Columns,
  left: number,
  y: number,
  h: number,
) {
  for (const kind of KINDS) {
    g.fillStyle = kind === 'prompt' ? stripes : palette.kind[kind];
    columns.cover[kind].forEach((share, x) => {
      if (share === 0) return;
      g.globalAlpha = Math.min(1, 0.25 + 0.75 * share);
      g.fillRect(left + x, y, 1, h);
    });
  }
  g.globalAlpha = 1;
  columns.untimed.forEach((part, x) => {
    if (part === 0) return;
    const all = KINDS.reduce((sum, kind) => sum + columns.cover[kind][x], 0);
    hatch(g, untimed, left + x, y, 1, h, part / all);
  });
}

/** Hatches the lower `share` of a bar. */
export function hatch(
  g: CanvasRenderingContext2D,
  pattern: Scene['untimed'],
  x: number,
  y: number,
  width: number,
  h: number,
  share: number,
) {
  if (share <= 0) return;
  const high = Math.min(h, Math.max(LEAST_HATCH, h * Math.min(1, share)));
  g.fillStyle = pattern;
  g.fillRect(x, y + h - high, width, high);
}
