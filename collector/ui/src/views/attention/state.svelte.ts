// What the view of attention is about: the token, layer and head that are looked at, and what the server says of them.
import { untrack } from 'svelte';
import { captures } from '../../components/capture/state.svelte';
import { contexts } from '../../lib/contexts.svelte';
import { current } from '../../lib/current.svelte';
import { PACE, paced } from '../../lib/paced.svelte';
import { selection } from '../../lib/selection.svelte';
import { theme } from '../../lib/theme.svelte';
import { asked, rows } from './asked.svelte';
import { formatLook, parseLook, type Look } from './look';
import { windowOf } from './matrix';
import { Palette } from './palette';
import type { Attention, AttentionMap } from './types';

/** To be made in a component. */
export class AttentionState {
  readonly look = $derived(parseLook(selection.attention));
  readonly palette = $derived(new Palette(theme.name));
  // No more often than other views ask.
  private readonly paced = paced(PACE, () => {
    void current.session?.version;
    return contexts.newest;
  });
  /** The newest token, -1 before there is one. */
  readonly newest = $derived(this.paced.value);
  private readonly last = $derived(Math.max(this.newest, selection.tokens?.[0] ?? 0));
  /** The token that is selected, or else the newest. */
  readonly token = $derived(selection.tokens?.[0] ?? (this.newest >= 0 ? this.newest : null));
  readonly session = $derived(current.summary?.id ?? null);
  /** The first and the last token that the heatmap is of. */
  readonly within = $derived(
    this.token === null ? null : windowOf(this.token, this.last, this.look.span, selection.tokens),
  );

  private ask = (path: string, more: Record<string, number | null>, key: string) =>
    this.session === null || this.token === null
      ? null
      : {
          key: `${this.session}/${this.token}/${key}`,
          path: `/sessions/${this.session}/${path}`,
          query: { tokens: this.token, ...more },
        };
  /** All heads of the token. */
  readonly map = asked<AttentionMap>(() => this.ask('attention/map', {}, 'map'));
  readonly layer = $derived(selection.layer ?? this.map.value?.layers[0]?.layer ?? 0);
  readonly head = $derived(selection.head ?? 0);
  /** The token's row in the layer. */
  readonly row = asked<Attention>(() =>
    this.ask('attention', { layer: this.layer, head: this.head }, `${this.layer}/${this.head}`),
  );
  /** The rows of many tokens in the layer. */
  readonly rows = rows(() => {
    const { session, within, layer, head } = this;
    if (session === null || within === null) return null;
    return { session, context: contexts.chosen, layer, head, first: within[0], last: within[1] };
  });
  readonly picture = $derived(
    this.rows.matrix && this.within && this.token !== null
      ? this.rows.matrix.picture(this.within[0], this.within[1], this.token)
      : null,
  );
  /** The head in the token's row. */
  readonly ofHead = $derived(this.row.value?.heads.find((of) => of.head === this.head) ?? this.row.value?.heads[0]);
  readonly nHead = $derived(this.rows.matrix?.nHead ?? 0);
  /** Heads that share one key. */
  readonly perKey = $derived(this.rows.matrix?.nHeadKv ? this.nHead / this.rows.matrix.nHeadKv : 1);
  readonly error = $derived(this.row.error ?? this.rows.error ?? this.map.error);
  /** Whether the trace has no attention at all. */
  readonly none = $derived(this.error?.status === 404 && this.error.field === 'id');
  /** Whether the token came before anything was captured. */
  readonly early = $derived(this.token !== null && captures.since !== null && this.token < captures.since);
  /** The head, as `layer/head`, whose node is to be selected as soon as the server has said which it is. */
  private highlight: string | null = null;

  constructor() {
    $effect(() => {
      const found = this.row.value;
      const graph = current.graph;
      untrack(() => {
        if (!found || this.highlight !== `${found.layer}/${this.head}`) return;
        const node = graph?.tensors.find((t) => t.id === found.node && t.op === found.op);
        if (!node) return;
        this.highlight = null;
        selection.set({ node: node.id, tensor: node.name }, { keep: true });
      });
    });
  }

  set = (change: Partial<Look>) =>
    selection.set({ attention: formatLook({ ...this.look, ...change }) }, { keep: true });

  choose = (token: number, key: number | null) => {
    current.following = false;
    selection.set({ tokens: [token, token], key }, { keep: true });
  };

  /** Selects a head, and the node that computes it. */
  chooseHead = (layer: number, head: number) => {
    this.highlight = `${layer}/${head}`;
    selection.set({ layer, head });
  };

  stepHead(by: number) {
    if (this.nHead > 0) this.chooseHead(this.layer, (this.head + by + this.nHead) % this.nHead);
  }
}
