// The state of the graph view: what part of the graph is shown, what is open, what colours and sizes say, and the scene
// that comes of it.
import { untrack } from 'svelte';
import { get } from '../../lib/api';
import { current } from '../../lib/current.svelte';
import { PACE } from '../../lib/paced.svelte';
import { batchOf, batchText, type Batch } from '../../lib/batch';
import { DEPTHS, selection } from '../../lib/selection.svelte';
import { scopeText } from '../analytics/scope';
import type { GraphCosts, GraphPart } from '../../lib/types';
import { arrange } from './arrange';
import { labelOf, sizer, withValue } from './labels';
import type { Layout } from './layout';
import { scaleOf, valuesOf, type Measure, type Values } from './measures';
import { buildModel, groupsAround, openTo, tensorKey, type Model } from './model';
import type { Known } from './describe';
import { textWidth } from './textWidth';
import { visible, type NodeKind, type Visible } from './visible';

/** Parts of layers that are kept. */
const KEPT_PARTS = 48;
/** A live session's sums are asked for again after this many milliseconds. */
const COSTS_EVERY = PACE;

/** A question for sums, and when it is asked again. */
interface Asked {
  of: string;
  tokens: string | null;
  abort: AbortController;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** What is to be drawn, and where. */
export interface Placed {
  model: Model;
  visible: Visible;
  layout: Layout;
  /** What stays where it is on the screen while the rest makes room. */
  still: string | null;
}

export class GraphScreen {
  /** The part of the selected layer, once it is here. */
  part = $state.raw<GraphPart | null>(null);
  error = $state<string | null>(null);
  costs = $state.raw<GraphCosts | null>(null);
  placed = $state.raw<Placed | null>(null);
  /** 0..1 while a large graph is laid out. */
  progress = $state<number | null>(null);
  /** What the keyboard is at. */
  focus = $state<string | null>(null);
  aspect = $state.raw({ width: 900, height: 500 });

  private readonly parts = new Map<string, Promise<GraphPart>>();
  private still: string | null = null;
  private columns: { of: string; columns: Record<string, number> } | null = null;
  private readonly asking: { sums: Asked | null } = { sums: null };
  private readonly models = new WeakMap<GraphPart, Model>();
  /** Whole graphs as they were laid out last: coming back from a layer lays nothing out. */
  private readonly kept = new WeakMap<Model, { key: string; placed: Placed }>();
  /** What is open in a whole graph by its depth alone. */
  private byDepth: { model: Model; depth: string; open: Set<string> } | null = null;

  /** What is shown: the part of the selected layer, or the whole graph. */
  readonly shown: GraphPart | null = $derived.by(() => {
    const whole = current.graph;
    if (!whole) return null;
    if (selection.layer === null) return whole;
    if (!whole.layers.includes(selection.layer)) return null;
    const { part } = this;
    // Until the layer is here, the one before stays.
    return part && part.graph === whole.graph ? part : null;
  });
  /** Why the graph has nothing of the selected layer. */
  readonly none: string | null = $derived.by(() => {
    const [whole, layer] = [current.graph, selection.layer];
    if (!whole || layer === null || whole.layers.includes(layer)) return null;
    const { layers } = whole;
    const all = layers.length === 0 ? 'it has none' : `its layers are ${layers[0]} to ${layers[layers.length - 1]}`;
    return `this graph has no layer ${layer}; ${all}`;
  });
  readonly model: Model | null = $derived(this.shown && this.modelOf(this.shown));
  readonly time: Values | null = $derived(this.model && valuesOf(this.model, 'time', this.costs));
  readonly read: Values | null = $derived(this.model && valuesOf(this.model, 'bytes', this.costs));
  readonly weights: Values | null = $derived(this.model && valuesOf(this.model, 'parameters', null));
  private readonly some: boolean = $derived(selection.tokens !== null);
  /** The evaluations that the sums are of. */
  private readonly batch: Batch | null = $derived.by(() => {
    const [session, graph] = [current.session, current.graphId];
    if (!session || graph === null) return null;
    void session.version;
    return batchOf(session.timeline, selection.tokens, graph);
  });
  private readonly selected: string = $derived.by(() => {
    if (!selection.tokens || !this.batch) return '';
    const said = batchText(this.batch);
    return `${scopeText(selection.tokens)}${said ? `, ${said}` : ''}`;
  });
  readonly sums: Known | null = $derived(
    this.time && this.read
      ? {
          time: this.time,
          read: this.read,
          over: this.costs ? (this.some ? this.selected : 'all evaluations of this graph') : null,
          tokens: this.batch?.tokens ?? 1,
        }
      : null,
  );

  private modelOf(part: GraphPart): Model {
    let model = this.models.get(part);
    if (!model) this.models.set(part, (model = buildModel(part)));
    return model;
  }

  valuesFor(measure: 'category' | 'same' | Measure): Values | null {
    if (measure === 'time') return this.time;
    if (measure === 'bytes') return this.read;
    return measure === 'parameters' ? this.weights : null;
  }

  /** The measure that groups tell with their name. */
  readonly told: Measure = $derived(
    selection.colour !== 'category' ? selection.colour : selection.size !== 'same' ? selection.size : 'time',
  );

  private openByDepth(model: Model): Set<string> {
    const { depth } = selection;
    if (this.byDepth?.model !== model || this.byDepth.depth !== depth) {
      this.byDepth = { model, depth, open: openTo(model, DEPTHS.indexOf(depth) + 1) };
    }
    return this.byDepth.open;
  }

  /** Groups of a model that are open. What is open in the part of a layer is all but what was closed: it is small. */
  private open(model: Model): Set<string> {
    if (model.part.layer !== null) {
      const open = new Set(model.groups.map((group) => group.key));
      for (const key of selection.closed) open.delete(key);
      return open;
    }
    const open = new Set(this.openByDepth(model));
    for (const key of selection.toggled) if (!open.delete(key)) open.add(key);
    return open;
  }

  toggle(key: string) {
    if (!this.model) return;
    this.still = key;
    this.swap([key]);
  }

  /** Opens what is closed, and closes what is open. */
  private swap(keys: string[]) {
    const list = this.model?.part.layer === null ? 'toggled' : 'closed';
    const set = new Set(selection[list]);
    for (const key of keys) if (!set.delete(key)) set.add(key);
    selection.set({ [list]: [...set] }, { keep: true });
  }

  /** Opens all groups down to a depth: 1 layers, 2 blocks, 3 all. */
  openTo(depth: number) {
    const { model } = this;
    this.still = null;
    this.columns = null;
    if (selection.layer === null) return selection.set({ depth: DEPTHS[depth - 1], toggled: [] }, { keep: true });
    if (!model) return;
    const open = openTo(model, Math.max(depth, 2));
    const closed = model.groups.flatMap((group) => (open.has(group.key) ? [] : [group.key]));
    selection.set({ closed }, { keep: true });
  }

  /** The depth that all groups of the whole model are open to. */
  readonly depth: number | null = $derived(
    selection.layer === null && selection.toggled.length === 0 ? DEPTHS.indexOf(selection.depth) + 1 : null,
  );

  /** Opens what a tensor is in; returns its key. */
  uncover(tensor: number): string | null {
    const { model } = this;
    if (!model) return null;
    const open = this.open(model);
    const closed = groupsAround(model, tensor).filter((key) => !open.has(key));
    if (closed.length) this.swap(closed);
    this.still = null;
    return tensorKey(model.tensors[tensor].id);
  }

  /** Asks for the part of the selected layer. */
  async fetchPart(signal: AbortSignal) {
    const [session, graph, layer] = [current.summary?.id, current.graph, selection.layer];
    if (!session || !graph || layer === null || !graph.layers.includes(layer)) {
      this.part = null;
      this.error = null;
      return;
    }
    const key = `${session} ${graph.graph} ${layer}`;
    let asked = this.parts.get(key);
    if (!asked) {
      asked = get<GraphPart>(`/sessions/${session}/graphs/${graph.graph}`, { layer });
      asked.catch(() => this.parts.delete(key));
      this.parts.set(key, asked);
      if (this.parts.size > KEPT_PARTS) this.parts.delete(this.parts.keys().next().value!);
    }
    try {
      const part = await asked;
      if (signal.aborted) return;
      this.part = part;
      this.error = null;
    } catch (error) {
      if (!signal.aborted) this.error = error instanceof Error ? error.message : String(error);
    }
  }

  /** Asks what the operators took: at once for other tokens, now and then while a session goes on. */
  fetchCosts(session: string, graph: number, tokens: string | null) {
    const { sums } = this.asking;
    const of = `${session} ${graph} ${tokens}`;
    if (sums && sums.of === of) {
      sums.timer ??= setTimeout(() => this.askCosts(sums, session, graph), COSTS_EVERY);
      return;
    }
    this.stop();
    const asked: Asked = { of, tokens, abort: new AbortController(), timer: undefined };
    this.asking.sums = asked;
    void this.askCosts(asked, session, graph);
  }

  private async askCosts(asked: Asked, session: string, graph: number) {
    const { signal } = asked.abort;
    const { tokens } = asked;
    try {
      const costs = await get<GraphCosts>(`/sessions/${session}/graphs/${graph}/costs`, { tokens }, signal);
      if (!signal.aborted) this.costs = costs;
    } catch {
      // The graph is shown without sums; the next change asks again.
      if (!signal.aborted) this.costs = null;
    }
    asked.timer = undefined;
  }

  /** Asks for no more. */
  stop() {
    this.asking.sums?.abort.abort();
    clearTimeout(this.asking.sums?.timer);
    this.asking.sums = null;
  }

  /** Finds out what is visible and where it goes. */
  place(model: Model, signal: AbortSignal) {
    const values = this.valuesFor(selection.size);
    const scale = values && scaleOf(values.tensors);
    const factor = (kind: NodeKind, of: number) => {
      if (!values || !scale || kind === 'group' || kind === 'frame') return 1;
      return 1 + 2.2 * Math.sqrt(values.tensors[of] / scale.most);
    };
    const open = this.open(model);
    const hideViews = selection.hidden;
    const key = values ? '' : `${hideViews} ${[...open].sort().join('\n')}`;
    const kept = this.kept.get(model);
    if (key && kept?.key === key) {
      this.progress = null;
      this.placed = { ...kept.placed, still: this.still };
      this.still = null;
      return;
    }
    const seen = visible(model, {
      open,
      hideViews,
      size: sizer(textWidth, factor),
    });
    const of = `${current.summary?.id} ${model.part.layer}`;
    const still = this.still;
    const input = {
      boxes: seen.nodes.map(({ key, kind, parent, side, width, height }) => ({
        key,
        kind,
        parent,
        side,
        width,
        height,
      })),
      edges: seen.edges.map(({ from, to, cross }) => ({ from, to, cross })),
      aspect: untrack(() => this.aspect),
      columns: still !== null && this.columns?.of === of ? this.columns.columns : null,
    };
    const done = (layout: Layout | null) => {
      if (!layout || signal.aborted) return;
      this.progress = null;
      this.columns = { of, columns: layout.columns };
      this.placed = { model, visible: seen, layout, still };
      if (key && model.part.layer === null) this.kept.set(model, { key, placed: this.placed });
      this.still = null;
    };
    const result = arrange(input, signal, (part) => (this.progress = signal.aborted ? null : part));
    if (!(result instanceof Promise)) return done(result);
    this.progress = 0;
    result.then(done, (error) => {
      this.progress = null;
      this.error = `the graph could not be laid out: ${error.message}`;
    });
  }

  labels({ model, visible }: Placed) {
    const values = this.valuesFor(this.told);
    return visible.nodes.map((node) => {
      const label = labelOf(model, node.kind, node.of);
      return values ? withValue(label, node, this.told, values) : label;
    });
  }
}
