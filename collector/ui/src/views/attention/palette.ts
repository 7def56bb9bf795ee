// Weights as colours: dark blue to yellow on dark, white to dark blue on light, so that more is more in print and for
// every eye. What is not seen has the panel's own colour, and NaN one that is on no scale.
import { inkOn } from '../../lib/colors';
import { UNSEEN } from './matrix';

type Theme = 'dark' | 'light';

type Rgb = readonly [number, number, number];

const STOPS: Record<Theme, readonly (readonly [number, Rgb])[]> = {
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
const NAN: Record<Theme, Rgb> = { dark: [255, 90, 60], light: [216, 50, 20] };
const NOTHING: Record<Theme, Rgb> = { dark: [20, 26, 34], light: [255, 255, 255] };
const STEPS = 255;

export type Scale = 'root' | 'linear';

/** A weight as a part of the scale. A root shows small weights that would all be black. */
export function part(weight: number, scale: Scale): number {
  const inside = Math.min(1, Math.max(0, weight));
  return scale === 'root' ? Math.sqrt(inside) : inside;
}

/** Colours of one theme. */
export class Palette {
  protected readonly ramp: Rgb[];
  readonly nan: Rgb;
  readonly nothing: Rgb;

  constructor(theme: Theme, stops = STOPS[theme]) {
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

  /** Which of two weights shows where there is room for one: NaN, then the heavier, then {@link UNSEEN}. */
  heavier(a: number, b: number): number {
    return Number.isNaN(a) || Number.isNaN(b) ? NaN : Math.max(a, b);
  }

  css(weight: number, scale: Scale): string {
    return `rgb(${this.of(weight, scale).join(' ')})`;
  }

  /** Black or white, whichever can be read on it. */
  ink(weight: number, scale: Scale): string {
    return inkOn(this.css(weight, scale));
  }

  /** From nothing to all, for a legend. */
  gradient(): string {
    const stops = [0, 0.25, 0.5, 0.75, 1].map(
      (at) => `rgb(${this.ramp[Math.round(at * STEPS)].join(' ')}) ${at * 100}%`,
    );
    return `linear-gradient(90deg, ${stops.join(', ')})`;
  }
}

/** From less to more, through nothing. */
const APART: Record<Theme, readonly (readonly [number, Rgb])[]> = {
  dark: [
    [0, [255, 170, 60]],
    [0.25, [176, 96, 40]],
    [0.5, [27, 36, 48]],
    [0.75, [36, 112, 168]],
    [1, [120, 205, 255]],
  ],
  light: [
    [0, [150, 70, 0]],
    [0.25, [230, 150, 60]],
    [0.5, [246, 248, 250]],
    [0.75, [90, 160, 210]],
    [1, [0, 70, 130]],
  ],
};

/** A difference of two weights, -1 to 1, as a number that a picture can hold. */
export const held = (difference: number) => (difference + 1) / 2;
export const difference = (held: number) => 2 * held - 1;

/** Colours of differences, as {@link held} has them: the middle is none. */
export class Differences extends Palette {
  constructor(theme: Theme) {
    super(theme, APART[theme]);
  }

  override of(weight: number, scale: Scale): Rgb {
    if (Number.isNaN(weight)) return this.nan;
    if (weight === UNSEEN) return this.nothing;
    const apart = difference(weight);
    const place = held(Math.sign(apart) * part(Math.abs(apart), scale));
    return this.ramp[Math.round(place * STEPS)];
  }

  /** The one that is farther from none. */
  override heavier(a: number, b: number): number {
    if (Number.isNaN(a) || Number.isNaN(b)) return NaN;
    if (a === UNSEEN || b === UNSEEN) return Math.max(a, b);
    return Math.abs(difference(a)) >= Math.abs(difference(b)) ? a : b;
  }
}
