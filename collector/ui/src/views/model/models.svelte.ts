// The model on the screen, and the answers about it that several tabs share. Each is asked for when a tab first needs it.
import { getContext, setContext, untrack } from 'svelte';
import { paced } from '../../lib/paced.svelte';
import { selection } from '../../lib/selection.svelte';
import { answer } from './answer.svelte';
import type { Schema } from './place';
import { source, type ModelSource } from './source';
import type { ArchNode, ModelSummary, WeightCost } from './types';

/** How often what is measured of a run that goes on is asked for again, milliseconds. */
const MEASURED_EVERY = 5000;

/** The run that is looked at, if there is one. */
export interface Run {
  session: string;
  /** Whether it goes on, and a number that changes while it does. */
  live: boolean;
  version: number;
}

const NO_PLAN = { ctx: null, parallel: null, k: null, v: null, vram: null };

export class Models {
  readonly source: ModelSource = source();
  private readonly list;
  private readonly inspected;
  private readonly drawn;
  private readonly mixed;
  private readonly costs;
  private readonly grown;

  constructor(
    private readonly run: () => Run | null,
    private readonly version: () => unknown,
  ) {
    const { source } = this;
    this.grown = paced(MEASURED_EVERY, () => (this.run()?.live ? this.run()!.version : -1));
    this.list = answer(() => ({
      of: 'models',
      key: `${JSON.stringify(this.version())} ${this.run()?.session}`,
      ask: (signal) => source.models(signal),
    }));
    this.inspected = answer(() => this.ask('inspection', (id, signal) => source.inspect(id, NO_PLAN, signal)));
    this.drawn = answer(() => {
      const [session, schema] = [this.session, this.schema];
      return this.ask('graph', (id, signal) => source.graph(id, schema, session, signal), [
        schema,
        session,
        session && this.grown.value,
      ]);
    });
    this.mixed = answer(() => this.ask('mix', (id, signal) => source.mix(id, signal)));
    this.costs = answer(() => {
      const { session } = this;
      if (session === null) return null;
      return this.ask('weights', (id, signal) => source.weights(session, id, signal), [session, this.grown.value]);
    });
  }

  private ask<T>(what: string, ask: (id: string, signal: AbortSignal) => Promise<T>, key: unknown[] = []) {
    const { id } = this;
    return id === null || !this.wanted.has(what)
      ? null
      : { of: `${what} ${id}`, key: JSON.stringify(key), ask: (signal: AbortSignal) => ask(id, signal) };
  }

  private wanted = $state.raw<ReadonlySet<string>>(new Set());

  /** What a tab shows has to be asked for. */
  want(...what: ('inspection' | 'graph' | 'mix' | 'weights')[]) {
    untrack(() => (this.wanted = new Set([...this.wanted, ...what])));
  }

  get all(): ModelSummary[] {
    return this.list.value ?? [];
  }
  get ready(): boolean {
    return !this.list.pending;
  }
  get error() {
    return this.list.error;
  }
  /** The one on the screen: chosen, else the one that the run is of, else the first. */
  readonly summary: ModelSummary | null = $derived.by(() => {
    const all = this.all;
    const run = this.run()?.session;
    const ran = run === undefined ? undefined : all.find((model) => model.sessions.includes(run));
    return all.find((model) => model.id === selection.model.model) ?? ran ?? all[0] ?? null;
  });
  readonly id: string | null = $derived(this.summary && !this.summary.error ? this.summary.id : null);
  /** The run on the screen, if it is of this model. */
  readonly session: string | null = $derived.by(() => {
    const run = this.run()?.session;
    return run !== undefined && this.summary?.sessions.includes(run) ? run : null;
  });
  readonly schema: Schema = $derived(
    this.source.offers.schemas.includes(selection.model.schema)
      ? selection.model.schema
      : (this.source.offers.schemas[0] ?? 'standard'),
  );

  get inspection() {
    return this.inspected;
  }
  get graph() {
    return this.drawn;
  }
  get mix() {
    return this.mixed;
  }
  get weights() {
    return this.costs;
  }
  readonly byTensor: Map<string, WeightCost> = $derived(
    new Map((this.session === null ? [] : (this.weights.value ?? [])).map((cost) => [cost.name, cost])),
  );

  /** The node of the architecture that is selected: what was clicked, as long as it is what the rest of the page is about. */
  readonly part: number = $derived.by(() => {
    const nodes = this.drawn.value?.nodes;
    if (!nodes) return -1;
    const { tensor, layer } = selection;
    const has = (node: ArchNode) => node.tensors.some((share) => share.tensor === tensor);
    const clicked = nodes.findIndex((node) => node.id === selection.model.part);
    if (clicked >= 0) {
      const node = nodes[clicked];
      const about = tensor === null ? node.layer === layer : has(node);
      if (about) return clicked;
    }
    if (tensor !== null) {
      const owner = nodes.findIndex(has);
      if (owner >= 0) return owner;
    }
    const of = layer ?? layerOfName(tensor);
    return of === null ? -1 : nodes.findIndex((node) => node.kind === 'layer' && node.layer === of);
  });
}

/** The layer that a tensor's name says: that of weights, `blk.5.`, or of results, `Qcur-5`. */
export function layerOfName(name: string | null): number | null {
  const said = /^(?:[a-z]+\.)*blk\.(\d{1,6})\./.exec(name ?? '') ?? /-(\d{1,6})(?: \(.*)?$/.exec(name ?? '');
  return said ? Number(said[1]) : null;
}

const KEY = Symbol('model');

export function provideModels(models: Models): Models {
  return setContext(KEY, models);
}

export function models(): Models {
  return getContext(KEY);
}
