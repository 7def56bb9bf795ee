// Colours of the architecture: by kind, by community, or by a number.
import { viridis } from '../../../lib/colors';
import { css, mix, rgb, type Paint, type Palette } from '../../graph/paint';
import { SHAPES } from '../../graph/shapes';
import type { GraphReport } from '../types';
import { kindColour, SERIES } from '../words';
import type { ArchTree } from './groups';
import { STREAM, type Shown } from './scene';
import { place, type Scale, type Values } from './values';

type Rgb = [number, number, number];

/** The colour of a community; the largest have colours of their own. */
export function communityColour(community: number): string {
  return SERIES[community % SERIES.length];
}

/** Colours of all boxes. `values` are what is coloured by; without them it is by community, or by kind. */
export function paintOf(
  tree: ArchTree,
  shown: Shown,
  p: Palette,
  by: { values: Values; scale: Scale | null } | { communities: GraphReport } | null,
  isDark: boolean,
): Paint {
  const { nodes } = tree.graph;
  const boxes = shown.visible.nodes;
  const out: Paint = {
    fill: [],
    border: [],
    stripe: [],
    shape: new Uint8Array(boxes.length),
    text: [],
    detail: [],
    dim: new Uint8Array(boxes.length),
    scale: null,
  };
  const of = (i: number): Rgb => {
    const node = shown.node[i];
    if (by && 'communities' in by && node >= 0) return rgb(communityColour(by.communities.community[node] ?? 0));
    if (node >= 0) return rgb(kindColour(nodes[node].kind));
    const [first] = tree.groups[shown.group[i]].members;
    return rgb(kindColour(nodes[first]?.kind ?? 'other'));
  };
  boxes.forEach((box, i) => {
    const own = of(i);
    const node = shown.node[i];
    out.shape[i] = node >= 0 && ['input', 'output'].includes(nodes[node].kind) ? SHAPES.pill : SHAPES.round;
    out.stripe.push('rgba(0,0,0,0)');
    if (box.kind === 'frame') {
      out.fill.push(css(mix(p.panel, own, 0.5), 0.1));
      out.border.push(css(mix(p.line, own, 0.5)));
      out.text.push(css(p.text));
      out.detail.push(css(p.muted));
      return;
    }
    let fill = mix(p.panel, own, by ? 0.42 : isDark ? 0.3 : 0.22);
    let border = mix(p.panel, own, 0.85);
    let [text, detail]: Rgb[] = [p.text, mix(p.text, fill, 0.3)];
    if (box.key.endsWith(STREAM)) {
      fill = mix(p.panel, p.muted, 0.12);
      border = mix(p.panel, p.muted, 0.6);
    } else if (by && 'values' in by) {
      const value = node < 0 ? NaN : by.values[node];
      fill = p.raised;
      border = mix(p.line, p.muted, 0.35);
      [text, detail] = [p.muted, p.muted];
      if (by.scale && value > 0) {
        fill = viridis(place(by.scale, value));
        border = mix(fill, p.text, 0.25);
        const bright = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] > 120;
        text = bright ? [10, 16, 22] : [244, 247, 250];
        detail = mix(text, fill, 0.12);
      }
    }
    out.fill.push(css(fill));
    out.border.push(css(border));
    out.text.push(css(text));
    out.detail.push(css(detail));
  });
  return out;
}
