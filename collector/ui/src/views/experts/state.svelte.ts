// What the cards of the view share: how it is set, and which layer they are about.
import { rangeText, selection, type Range } from '../../lib/selection.svelte';
import { shown } from '../analytics/shown.svelte';
import { formatSettings, parseSettings, type Settings } from './settings';
import type { LayerExperts } from './types';

class Shared {
  readonly settings: Settings = $derived(parseSettings(selection.experts));
  /** Sums are of several selected tokens; one alone says nothing, and is a place in the whole run. */
  readonly tokens: Range | null = $derived(shown.tokens && shown.tokens[1] > shown.tokens[0] ? shown.tokens : null);
  /** `7..9` for the server. */
  readonly within: string | null = $derived(this.tokens && rangeText(this.tokens));

  set(change: Partial<Settings>) {
    selection.set({ experts: formatSettings({ ...this.settings, ...change }) }, { keep: true });
  }

  /** Points an expert out, or none if it was. */
  toggle(expert: number) {
    this.set({ expert: this.settings.expert === expert ? null : expert });
  }

  /** The selected layer if it has experts, else the first that has. */
  layer(layers: LayerExperts[]): LayerExperts | undefined {
    return layers.find((layer) => layer.layer === selection.layer) ?? layers[0];
  }
}

export const shared = new Shared();
