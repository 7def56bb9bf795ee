// The views: what they are called, and their code, which is loaded when a view is looked at for the first time. The
// timeline is no view of these: it is always there, and is the first picture.
import type { Component } from 'svelte';
import { VIEWS, type View } from '../lib/selection.svelte';

interface Entry {
  title: string;
  /** The key that chooses it: no digit 0 and no sign, with which views zoom. */
  key: string;
  load: () => Promise<{ default: Component }>;
}

const entries: Record<View, Entry> = {
  graph: { title: 'Graph', key: '1', load: () => import('./graph/Graph.svelte') },
  memory: { title: 'Memory', key: '2', load: () => import('./memory/MemoryMap.svelte') },
  table: { title: 'Trace table', key: '3', load: () => import('./table/Table.svelte') },
  analytics: { title: 'Analytics', key: '4', load: () => import('./analytics/Analytics.svelte') },
  compare: { title: 'Compare', key: '5', load: () => import('./compare/Compare.svelte') },
  info: { title: 'Session', key: '6', load: () => import('./info/Info.svelte') },
  model: { title: 'Model', key: '7', load: () => import('./model/Model.svelte') },
  attention: { title: 'Attention', key: '8', load: () => import('./attention/Attention.svelte') },
  layers: { title: 'Layers', key: '9', load: () => import('./layers/Layers.svelte') },
  heads: { title: 'Heads', key: 'h', load: () => import('./heads/HeadsView.svelte') },
  experts: { title: 'Experts', key: 'e', load: () => import('./experts/Experts.svelte') },
};

class Views {
  private loaded = $state.raw<Partial<Record<View, Component>>>({});
  private failed = $state.raw<Partial<Record<View, boolean>>>({});
  private loading = new Set<View>();

  title(view: View): string {
    return entries[view].title;
  }

  /** The key that chooses it. */
  key(view: View): string {
    return entries[view].key;
  }

  /** A view, if its code is here. */
  component(view: View): Component | undefined {
    return this.loaded[view];
  }

  /** Whether its code did not come. */
  missing(view: View): boolean {
    return this.failed[view] ?? false;
  }

  /** Loads a view unless it is here. */
  async load(view: View) {
    if (this.loading.has(view)) return;
    this.loading.add(view);
    this.failed = { ...this.failed, [view]: false };
    try {
      const { default: component } = await entries[view].load();
      this.loaded = { ...this.loaded, [view]: component };
    } catch {
      this.failed = { ...this.failed, [view]: true };
      this.loading.delete(view);
    }
  }

  /** Loads the others too: who looks at them does not have to wait then. */
  loadAll() {
    for (const view of VIEWS) void this.load(view);
  }
}

export const views = new Views();
