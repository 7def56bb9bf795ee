// Weights as colours: dark blue to yellow on dark, white to dark blue on light, so that more is more in print and for
// every eye. What is not seen has the panel's own colour, and NaN one that is on no scale.
import { UNSEEN } from './matrix';

type Rgb = readonly [number, number, number];

const STOPS: Record<'dark' | 'light', readonly (readonly [number, Rgb])[]> = {
  dark: [
    [0, [27, 36, 48]],
    [0.25, [22, 72, 110]],
    [0.5, [42, 128, 178]],
    [0.72, [110, 190, 220]],
    [0.88, [222, 224, 140]],
    [1, [255, 236, 80]],
  ],
  light: [
    [0, [236, 241, 246]],
    [0.25, [178, 212, 234]],
    [0.5, [96, 164, 210]],
    [0.75, [16, 100, 166]],
    [1, [10, 32, 74]],
  ],
};
const NAN: Record<'dark' | 'light', Rgb> = { dark: [255, 90, 60], light: [216, 50, 20] };
const NOTHING: Record<'dark' | 'light', Rgb> = { dark: [20, 26, 34], light: [255, 255, 255] };
const STEPS = 255;

export type Scale = 'root' | 'linear';

/** A weight as a part of the scale. A root shows small weights that would all be black. */
export function part(weight: number, scale: Scale): number {
  const inside = Math.min(1, Math.max(0, weight));
  return scale === 'root' ? Math.sqrt(inside) : inside;
}

/** Colours of one theme. */
export class Palette {
  private readonly ramp: Rgb[];
  readonly nan: Rgb;
  readonly nothing: Rgb;

  constructor(theme: 'dark' | 'light') {
    const stops = STOPS[theme];
    this.ramp = Array.from({ length: STEPS + 1 }, (_, i) => {
      const at = i / STEPS;
      const next = Math.max(
        1,
        stops.findIndex(([stop]) => stop >= at),
      );
      const [[from, a], [to, b]] = [stops[next - 1], stops[next]];
      const f = (at - from) / (to - from);
      return [0, 1, 2].map((c) => Math.round(a[c] + f * (b[c] - a[c]))) as unknown as Rgb;
    });
    this.nan = NAN[theme];
    this.nothing = NOTHING[theme];
  }

  /** The colour of a weight, of {@link UNSEEN}, of NaN. */
  of(weight: number, scale: Scale): Rgb {
    if (Number.isNaN(weight)) return this.nan;
    if (weight === UNSEEN) return this.nothing;
    return this.ramp[Math.round(part(weight, scale) * STEPS)];
  }

  css(weight: number, scale: Scale): string {
    return `rgb(${this.of(weight, scale).join(' ')})`;
  }

  /** Black or white, whichever can be read on it. */
  ink(weight: number, scale: Scale): string {
    const [r, g, b] = this.of(weight, scale);
    return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? '#0b1118' : '#f4f8fb';
  }

  /** From nothing to all, for a legend. */
  gradient(): string {
    const stops = [0, 0.25, 0.5, 0.75, 1].map(
      (at) => `rgb(${this.ramp[Math.round(at * STEPS)].join(' ')}) ${at * 100}%`,
    );
    return `linear-gradient(90deg, ${stops.join(', ')})`;
  }
}
