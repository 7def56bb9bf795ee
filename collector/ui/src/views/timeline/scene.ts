// What one picture of the timeline is drawn from.
import type { SessionData } from '../../lib/data.svelte';
import type { Axis, Span } from './axis';
import type { Flame, GroupPart, OperatorPart, UnknownPart, Wanted } from './flame';
import type { Lanes } from './lanes';
import type { Layout } from './layout';
import type { Palette } from './palette';
import type { Patterns } from './patterns';
import type { Bar, Visible } from './visible';

/** What is at a place of the timeline. */
export type Hit =
  | { kind: 'overview' | 'ruler' }
  | { kind: 'evaluation'; seq: number; token: number | null }
  | { kind: 'layer' | 'block'; flame: Flame; part: GroupPart }
  | { kind: 'operator'; flame: Flame; part: OperatorPart }
  | { kind: 'unknown'; flame: Flame; part: UnknownPart };

/** A bar that is wide enough for its operators, and what is known of them. */
export interface OpenBar extends Bar {
  entry: Flame | { error: string } | 'asked' | undefined;
}

export interface Scene extends Patterns {
  g: CanvasRenderingContext2D;
  session: SessionData;
  lanes: Lanes;
  axis: Axis;
  span: Span;
  layout: Layout;
  palette: Palette;
  visible: Visible[];
  open: OpenBar[];
  /** What is said where the operators would be, while no bar is wide enough for them. */
  hint: string | null;
  /** Where the selected tokens are. */
  selected: Span | null;
  /** A range that is being dragged. */
  dragged: Span | null;
  wanted: Wanted;
  /** Node of the graph `wanted` is about that another view points at. */
  pointed: { graph: number; node: number } | null;
  hover: Hit | null;
}

/** Pixel of a place on the axis. */
export function pixel({ layout, span }: Pick<Scene, 'layout' | 'span'>, at: number): number {
  return layout.left + ((at - span.from) / (span.to - span.from)) * layout.inner;
}

/** Place on the axis of a pixel. */
export function place({ layout, span }: Pick<Scene, 'layout' | 'span'>, x: number): number {
  return span.from + ((x - layout.left) / layout.inner) * (span.to - span.from);
}
