// Draws evaluations that are narrower than a pixel: how much of each column they cover.
import type { Kind } from './lanes';
import type { Scene } from './scene';
import type { Columns } from './visible';

/** The last is drawn over the others: a prompt is rare, and what divides a run. */
const KINDS: Kind[] = ['other', 'generate', 'prompt'];

export function drawCover(
  g: CanvasRenderingContext2D,
  { stripes, palette }: Pick<Scene, 'stripes' | 'palette'>,
  { cover }: Columns,
  left: number,
  y: number,
  h: number,
) {
  for (const kind of KINDS) {
    g.fillStyle = kind === 'prompt' ? stripes : palette.kind[kind];
    cover[kind].forEach((share, x) => {
      if (share === 0) return;
      g.globalAlpha = Math.min(1, 0.25 + 0.75 * share);
      g.fillRect(left + x, y, 1, h);
    });
  }
  g.globalAlpha = 1;
}
