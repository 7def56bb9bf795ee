// Colours and shapes of what is drawn.
import { opColor, themeColor, viridis } from '../../lib/colors';
import type { Category } from '../../lib/types';
import type { Model } from './model';
import { place, scaleOf, valueOf, type Scale, type Values } from './measures';
import { SHAPES } from './shapes';
import type { Visible, VisibleNode } from './visible';

type Rgb = [number, number, number];

export interface Palette {
  panel: Rgb;
  raised: Rgb;
  line: Rgb;
  text: Rgb;
  muted: Rgb;
  accent: Rgb;
  select: Rgb;
  category: Record<Category, Rgb>;
}

export interface Paint {
  fill: string[];
  border: string[];
  stripe: string[];
  shape: Uint8Array;
  text: string[];
  detail: string[];
  /** What stands back: it is not what was asked for. */
  dim: Uint8Array;
  scale: Scale | null;
}

/** `#56b4e9` as three numbers. */
export function rgb(hex: string): Rgb {
  const short = hex.length === 4 ? hex.replace(/[^#]/g, '$&$&') : hex;
  const n = parseInt(short.slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

/** A colour between two: 0 is the first. */
export function mix(a: Rgb, b: Rgb, part: number): Rgb {
  return [0, 1, 2].map((c) => Math.round(a[c] + (b[c] - a[c]) * part)) as Rgb;
}

export function css([r, g, b]: Rgb, alpha = 1): string {
  return alpha === 1 ? `rgb(${r},${g},${b})` : `rgba(${r},${g},${b},${alpha})`;
}

/** The theme's colours, as they are now. */
export function palette(): Palette {
  const of = (name: string) => rgb(themeColor(name));
  return {
    panel: of('--panel'),
    raised: of('--raised'),
    line: of('--line'),
    text: of('--text'),
    muted: of('--muted'),
    accent: of('--accent'),
    select: of('--select'),
    category: {
      layer: of('--cat-layer'),
      infrastructure: of('--cat-infrastructure'),
      input: of('--cat-input'),
      output: of('--cat-output'),
    },
  };
}

/** The shape that tells a category without its colour. */
export function shapeOf(category: Category, kind: VisibleNode['kind']): number {
  if (kind === 'frame' || kind === 'group') return SHAPES.round;
  if (category === 'input') return SHAPES.hexagon;
  if (category === 'output') return SHAPES.bevel;
  return category === 'infrastructure' ? SHAPES.pill : SHAPES.round;
}

/** Colours of all nodes. `values` are what is coloured by, null is by category; `stands` says what is asked for. */
export function paint(
  model: Model,
  { nodes }: Visible,
  p: Palette,
  values: Values | null,
  stands: ((node: VisibleNode) => boolean) | null,
): Paint {
  const inner = nodes.filter((node) => node.kind !== 'frame');
  const scale = values && scaleOf(inner.map((node) => valueOf(values, node)));
  const none = 'rgba(0,0,0,0)';
  const out: Paint = {
    fill: [],
    border: [],
    stripe: [],
    shape: new Uint8Array(nodes.length),
    text: [],
    detail: [],
    dim: new Uint8Array(nodes.length),
    scale,
  };
  nodes.forEach((node, i) => {
    const own = p.category[node.category];
    const tensor = node.kind === 'operator' || node.kind === 'leaf' ? model.tensors[node.of] : null;
    const back = stands !== null && node.kind !== 'frame' && !stands(node);
    out.dim[i] = back ? 1 : 0;
    out.shape[i] = shapeOf(node.category, node.kind);
    if (node.kind === 'frame') {
      out.fill.push(css(mix(p.panel, own, 0.5), 0.09));
      out.border.push(css(mix(p.line, own, 0.45)));
      out.stripe.push(none);
      out.text.push(css(p.text));
      out.detail.push(css(p.muted));
      return;
    }
    const value = values ? valueOf(values, node) : 0;
    const passive = tensor !== null && !tensor.leaf && !tensor.computed;
    let fill = mix(p.panel, own, node.kind === 'leaf' ? 0.06 : passive ? 0.05 : 0.2);
    let border = mix(p.panel, own, passive ? 0.4 : node.kind === 'leaf' ? 0.6 : 0.75);
    let [text, detail] = [passive ? p.muted : p.text, p.muted];
    if (values) {
      fill = p.raised;
      border = mix(p.line, p.muted, 0.3);
      if (scale && value > 0) {
        fill = viridis(place(scale, value));
        border = mix(fill, p.text, 0.25);
        const bright = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] > 120;
        text = bright ? [10, 16, 22] : [244, 247, 250];
        detail = mix(text, fill, 0.12);
      }
    }
    // The category is told by the border where the colour tells something else.
    if (values && node.category !== 'layer') border = mix(p.panel, own, 0.85);
    if (back) {
      [fill, border, text, detail] = [fill, border, text, detail].map((c) => mix(p.panel, c, 0.42)) as [
        Rgb,
        Rgb,
        Rgb,
        Rgb,
      ];
    }
    out.fill.push(css(fill));
    out.border.push(css(border));
    const stripe = tensor && !tensor.leaf && !passive && !values && out.shape[i] === SHAPES.round;
    out.stripe.push(stripe ? css(back ? mix(p.panel, rgb(opColor(tensor.op)), 0.42) : rgb(opColor(tensor.op))) : none);
    out.text.push(css(text));
    out.detail.push(css(detail));
  });
  return out;
}
