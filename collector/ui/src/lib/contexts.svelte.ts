// The contexts of the session on the screen: a program may compute with several, of one model or of several (a draft model
// beside its target). Views show one of them at a time: that of the selected token, else the one that was chosen.
import { get } from './api';
import { current } from './current.svelte';
import { selection } from './selection.svelte';
import type { ContextOfSession } from './types';
import { usualContext } from './usual';

class Contexts {
  /** What the server says of each; empty while there is only one. */
  list = $state.raw<ContextOfSession[]>([]);
  /** The session's first model, and the session that both are of. */
  private first = $state.raw<number | null>(null);
  private of: string | null = null;

  /** How many there are. */
  readonly count: number = $derived.by(() => {
    void current.session?.version;
    return current.session?.timeline.contexts.size ?? 0;
  });
  /** The one that views show; null while there is only one. */
  readonly chosen: number | null = $derived.by(() => {
    const session = current.session;
    if (!session || this.count < 2) return null;
    void session.version;
    const { timeline } = session;
    const own = selection.tokens ? timeline.contextOf(selection.tokens[0]) : undefined;
    if (own !== undefined) return own;
    if (selection.context !== null && timeline.contexts.has(selection.context)) return selection.context;
    return usualContext(timeline.contexts, this.list, this.first);
  });
  /** The newest token of it; -1 before any. */
  readonly newest: number = $derived.by(() => {
    const session = current.session;
    if (!session) return -1;
    void session.version;
    const { timeline } = session;
    return this.chosen === null ? timeline.tokens - 1 : (timeline.contexts.get(this.chosen) ?? -1);
  });

  /** Asks what the contexts are, when there are several; to be called once, in a component. */
  watch() {
    $effect(() => {
      const [id, count] = [current.summary?.id ?? null, this.count];
      if (id !== this.of) [this.list, this.first] = [[], null];
      this.of = id;
      if (id === null || count < 2) return;
      const abort = new AbortController();
      get<{ model: { id: number } | null; contexts: ContextOfSession[] }>(`/sessions/${id}`, {}, abort.signal).then(
        (info) => ([this.list, this.first] = [info.contexts, info.model?.id ?? null]),
        // Without names the numbers are shown.
        () => {},
      );
      return () => abort.abort();
    });
  }

  /** Its number, with its model where that is known. */
  name(context: number): string {
    const model = this.list.find((one) => one.context === context)?.model_name;
    return model ? `${context}: ${model}` : String(context);
  }

  /** Shows another one. A token of another context is selected no more. */
  choose(context: number) {
    const own = selection.tokens ? current.session?.timeline.contextOf(selection.tokens[0]) : undefined;
    if (own !== undefined && own !== context) {
      current.following = false;
      selection.set({ context, tokens: null, key: null, node: null, tensor: null });
    } else selection.set({ context });
  }
}

export const contexts = new Contexts();
