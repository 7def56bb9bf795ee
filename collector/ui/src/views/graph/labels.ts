// What is written on boxes, and how large they have to be for it.
import { count } from '../../lib/format';
import type { Model } from './model';
import { measureText, valueOf, type Measure, type Values } from './measures';
import type { NodeKind, VisibleNode } from './visible';

export interface Label {
  title: string;
  detail: string;
}

export const FONT = '12px system-ui, -apple-system, "Segoe UI", Inter, "Noto Sans", "DejaVu Sans", sans-serif';
export const SMALL_FONT = FONT.replace('12px', '10px');
export const BOLD_FONT = `600 ${FONT}`;

const LONGEST = 30;

/** A long name with its middle left out: begin and end tell names apart. */
export function shorten(name: string, most = LONGEST): string {
  if (name.length <= most) return name;
  const head = Math.ceil((most - 1) / 2);
  return `${name.slice(0, head)}…${name.slice(name.length - (most - 1 - head))}`;
}

/** What is written on a box. */
export function labelOf(model: Model, kind: NodeKind, of: number): Label {
  if (kind === 'group' || kind === 'frame') {
    const group = model.groups[of];
    const parts = [];
    if (group.operators) parts.push(`${count(group.operators)} nodes`);
    if (group.leaves) parts.push(`${count(group.leaves)} leaves`);
    return { title: group.title, detail: parts.join(' · ') };
  }
  const t = model.tensors[of];
  const name = t.name.trim() || `#${t.id}`;
  // ` (view) (permuted)` repeats what the operator says.
  if (!t.leaf) return { title: shorten(name.replace(/(?<=\S)( \([a-z ]+\))+$/, ''), 26), detail: t.op };
  // The layer is said by what the leaf is in.
  const prefix = `blk.${t.layer}.`;
  const short = t.layer !== null && name.startsWith(prefix) ? name.slice(prefix.length) : name;
  const meaning = t.meaning === undefined || t.meaning === 'weight' ? t.type : t.meaning;
  return { title: shorten(short), detail: shorten(meaning, 28) };
}

/** The label of a group with its sum. */
export function withValue(label: Label, node: VisibleNode, measure: Measure, values: Values): Label {
  const value = valueOf(values, node);
  if (value <= 0) return label;
  const text = measureText(measure, value);
  if (node.kind === 'group') return { ...label, detail: `${label.detail.split(' · ')[0]} · ${text}` };
  if (node.kind === 'frame') return { ...label, detail: `${label.detail} · ${text}` };
  return label;
}

/** Size of a box; `measure` gives the width of a text in pixels, `factor` makes it larger (1 is as it is). */
export function sizer(measure: (text: string, font: string) => number, factor: (kind: NodeKind, of: number) => number) {
  return (model: Model, kind: NodeKind, of: number) => {
    const { title, detail } = labelOf(model, kind, of);
    const grow = factor(kind, of);
    if (kind === 'group') {
      const wide = Math.max(measure(title, BOLD_FONT) + 34, measure(detail, SMALL_FONT) + 24, 150);
      return { width: Math.ceil(wide / 8) * 8, height: Math.round(38 * grow) };
    }
    const wide = 12 + measure(title, FONT) + 10 + measure(detail, SMALL_FONT) + 11;
    return { width: Math.ceil(Math.max(64, wide) / 8) * 8, height: Math.round(22 * grow) };
  };
}
