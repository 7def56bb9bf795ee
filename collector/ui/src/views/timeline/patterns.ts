// Hatchings of the timeline: what is not told by a colour alone.
import type { Palette } from './palette';

export interface Patterns {
  /** Prompts. */
  stripes: CanvasPattern | string;
  /** A time within which nobody knows which operator ran when. */
  hatch: CanvasPattern | string;
  /** Over bars of evaluations, or parts of them, whose operators have no times. */
  untimed: CanvasPattern | string;
}

export function patterns(g: CanvasRenderingContext2D, p: Palette): Patterns {
  return {
    stripes: diagonal(g, p.kind.prompt, '#000000', 0.28, 2),
    hatch: diagonal(g, p.panel, p.muted, 0.4, 1.2),
    untimed: diagonal(g, '', p.panel, 0.6, 2.4, true),
  };
}

/** A tile of diagonal lines. */
function diagonal(
  g: CanvasRenderingContext2D,
  ground: string,
  line: string,
  alpha: number,
  width: number,
  falling = false,
) {
  const tile = document.createElement('canvas');
  tile.width = tile.height = 8;
  const t = tile.getContext('2d')!;
  if (falling) t.setTransform(-1, 0, 0, 1, 8, 0);
  if (ground) {
    t.fillStyle = ground;
    t.fillRect(0, 0, 8, 8);
  }
  t.strokeStyle = line;
  t.globalAlpha = alpha;
  t.lineWidth = width;
  t.beginPath();
  for (const x of [-8, 0, 8]) {
    t.moveTo(x - 2, 10);
    t.lineTo(x + 10, -2);
  }
  t.stroke();
  return g.createPattern(tile, 'repeat') ?? (ground || line);
}
