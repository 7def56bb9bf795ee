// What the selection means: the session's data, the evaluation and the graph on the screen, the node that is pointed at.
import { untrack } from 'svelte';
import { data, recordingOf, type SessionData } from './data.svelte';
import { contexts } from './contexts.svelte';
import { PACE, pause } from './paced.svelte';
import { ELSEWHERE, selection, type Range } from './selection.svelte';
import type { GraphPart, GraphTensor, SessionSummary } from './types';

class Current {
  /** Whether the newest token is selected as it comes. */
  following = $state(false);
  /** The graph of the selected evaluation, once it is here. */
  graph = $state.raw<GraphPart | null>(null);
  graphError = $state<string | null>(null);
  /** What the pointer is over, in any view: a tensor's number in the graph, or its name. */
  hover = $state.raw<{ node?: number; tensor?: string } | null>(null);

  /** A session that the address names and that is not there. */
  missing = $state<string | null>(null);
  /** The session that nobody has chosen: it gives way to one that begins when it has ended. */
  private automatic = $state<string | null>(null);
  /** When a token was selected by following. */
  private followed = -PACE;
  /** The page is being loaded again. */
  private leaving = false;

  readonly summary: SessionSummary | undefined = $derived(
    data.sessions.find((s) => s.id === selection.session) ?? data.sessions[0],
  );
  /** A program that has attached after the one on the screen. */
  readonly newer: SessionSummary | null = $derived.by(() => {
    const at = data.sessions.findIndex((s) => s.id === this.summary?.id);
    return data.sessions.findLast((s, i) => i > at && s.state === 'live') ?? null;
  });
  readonly session: SessionData | null = $derived(this.summary ? data.session(this.summary.id) : null);
  /** The evaluation of the first selected token; the newest one if none is selected. */
  readonly seq: number | null = $derived.by(() => {
    const session = this.session;
    if (!session) return null;
    void session.version;
    const timeline = session.timeline;
    const selected = selection.tokens ? timeline.seqOfToken(selection.tokens[0]) : undefined;
    return selected ?? (timeline.length ? timeline.length - 1 : null);
  });
  /** Number of the graph on the screen. */
  readonly graphId: number | null = $derived(
    this.session && this.seq !== null ? this.session.timeline.graph[this.seq] : null,
  );
  /** The selected node. */
  readonly node: GraphTensor | undefined = $derived(
    selection.node === null ? undefined : this.graph?.tensors.find((t) => t.id === selection.node),
  );

  /** Keeps `graph` what `graphId` says; to be called once, in a component. */
  watch() {
    $effect(() => {
      if (data.strange) return this.startAgain(data.strange);
      if (!data.ready || data.sessions.length === 0) return;
      const live = data.sessions.findLast((s) => s.state === 'live');
      const shown = data.sessions.find((s) => s.id === selection.session);
      const gaveWay = shown && shown.id === this.automatic && shown.state !== 'live' && live;
      if (shown && !gaveWay) return;
      if (!shown) this.missing = selection.session;
      const next = live ?? data.sessions[0];
      this.automatic = next.id;
      selection.set(shown ? { session: next.id, tokens: null, node: null, tensor: null } : { session: next.id }, {
        keep: true,
      });
    });
    $effect(() => {
      const [session, id] = [this.session, this.graphId];
      if (!session || id === null) {
        this.graph = null;
        return;
      }
      let stale = false;
      session.graph(id).then(
        (graph) => {
          if (stale) return;
          this.remap(graph);
          this.graph = graph;
          this.graphError = null;
        },
        (error) => {
          if (!stale) this.graphError = String(error.message ?? error);
        },
      );
      return () => (stale = true);
    });
    $effect(() => {
      const session = this.session;
      if (!session || !this.following) return;
      void session.version;
      const select = () => {
        const last = untrack(() => contexts.newest);
        if (last < 0 || untrack(() => selection.tokens?.[0]) === last) return;
        this.followed = performance.now();
        selection.set({ tokens: [last, last] }, { keep: true, seldom: true });
      };
      // All views ask for what belongs to the new token, and all at the same time.
      const wait = pause(this.followed, PACE);
      if (wait === 0) return select();
      const later = setTimeout(select, wait);
      return () => clearTimeout(later);
    });
  }

  /** The graph on the screen, or the one that is on its way there: keys may be faster than it. */
  async graphOnce(): Promise<GraphPart | null> {
    if (this.graph || !this.session || this.graphId === null) return this.graph;
    return this.session.graph(this.graphId).catch(() => null);
  }

  /** Loads the page for the sessions of another collector. What is selected stays if that has the same recording. */
  private startAgain(before: ReadonlyMap<string, string>) {
    // The selection that is taken along changes, and that would come here again.
    if (this.leaving) return;
    this.leaving = true;
    const again = (id: string | null) =>
      data.sessions.find((s) => id !== null && recordingOf(s) === before.get(id))?.id ?? null;
    const session = again(selection.session);
    selection.load(session ? { session, other: again(selection.other) } : ELSEWHERE);
  }

  /** Another graph numbers its nodes in another way: the selected node is the one of the same name. */
  private remap(next: GraphPart) {
    const before = this.graph;
    if (selection.node === null || !before || before.graph === next.graph || !this.node) return;
    const { name, op } = this.node;
    // Selected by its name together with a token of another graph: the number is of that graph already.
    if (selection.tensor !== null && selection.tensor !== name) return;
    const same = (t: GraphTensor) => t.name === name && t.op === op;
    const nth = before.tensors.filter(same).findIndex((t) => t.id === selection.node);
    const found = next.tensors.filter(same);
    selection.set({ node: (found[nth] ?? found[0])?.id ?? null }, { keep: true });
  }

  /** Goes to the program that attached last. */
  showNewer() {
    if (this.newer) selection.set({ session: this.newer.id, tokens: null, node: null, tensor: null });
  }

  /** Selects tokens; stops following. */
  selectTokens(tokens: Range | null, { keep = false } = {}) {
    this.following = false;
    selection.set({ tokens }, { keep });
  }

  /** Selects a tensor of the graph on the screen, with its name and its layer. */
  selectNode(tensor: GraphTensor | null) {
    if (!tensor) selection.set({ node: null, tensor: null });
    else selection.set({ node: tensor.id, tensor: tensor.name, layer: this.layerWith(tensor, tensor.layer) });
  }

  /** Selects a tensor by its name, as the heatmap and the analytics know it, with its layer: the graph's, or `layer` where
   * the graph on the screen does not have it. */
  selectTensor(name: string | null, layer: number | null = null) {
    const found = name === null ? undefined : this.graph?.tensors.find((t) => t.name === name);
    if (name === null) selection.set({ tensor: null, node: null });
    else selection.set({ tensor: name, node: found?.id ?? null, layer: this.layerWith(found, found?.layer ?? layer) });
  }

  /** The layer that is selected together with a tensor: its own. One of no layer leaves the selected layer if an operator
   * of that layer reads it, or computes what it is made of. */
  layerWith(tensor: GraphTensor | undefined, layer: number | null): number | null {
    if (layer !== null || selection.layer === null || !tensor || !this.graph) return layer;
    const { tensors, edges } = this.graph;
    const within = new Set(tensors.filter((t) => t.layer === selection.layer).map((t) => t.id));
    const touches = edges.some(
      ({ from, to }) => (from === tensor.id && within.has(to)) || (to === tensor.id && within.has(from)),
    );
    return touches ? selection.layer : null;
  }

  /** One token on, or back. */
  step(by: number, extend = false) {
    const session = this.session;
    if (!session) return;
    const last = session.timeline.tokens - 1;
    if (last < 0) return;
    const at = selection.tokens;
    if (!at) this.selectTokens(by > 0 ? [0, 0] : [last, last]);
    else if (extend) {
      const [first, end] = by > 0 ? [at[0], Math.min(last, at[1] + by)] : [Math.max(0, at[0] + by), at[1]];
      this.selectTokens([first, end], { keep: true });
    } else {
      const to = Math.min(last, Math.max(0, (by > 0 ? at[1] : at[0]) + by));
      this.selectTokens([to, to], { keep: true });
    }
  }
}

export const current = new Current();
