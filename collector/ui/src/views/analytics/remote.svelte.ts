// An answer of the server that follows its question: the old one stays until the new one is here, a newer question ends
// an older one, and a session that grows is asked about again, at most every two seconds while someone looks.
import { untrack } from 'svelte';
import { on } from 'svelte/events';
import { createSubscriber } from 'svelte/reactivity';
import { ApiError } from '../../lib/api';
import { current } from '../../lib/current.svelte';

/** Between two questions about a session that grows, milliseconds. */
const PACE = 2000;
/** A selection that moves on within this is not asked about, milliseconds. */
const SETTLE = 90;

const visibility = createSubscriber((update) => on(document, 'visibilitychange', update));

/** Whether the page is looked at. */
function visible(): boolean {
  visibility();
  return !document.hidden;
}

export interface Question<T> {
  /** What the question is: another key is another question. */
  key: string;
  ask: (session: string, signal: AbortSignal) => Promise<T>;
}

export class Remote<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  busy = $state(false);
}

/** `read()`, that changes at most every `ms` milliseconds; to be called in a component. */
export function paced<T>(ms: number, read: () => T): { readonly value: T } {
  let value = $state.raw(untrack(read));
  let last = 0;
  $effect(() => {
    const next = read();
    const timer = setTimeout(
      () => {
        last = performance.now();
        value = next;
      },
      Math.max(0, last + ms - performance.now()),
    );
    return () => clearTimeout(timer);
  });
  return {
    get value() {
      return value;
    },
  };
}

/** The answer to `question()`; none is asked while that is null. To be called in a component. */
export function remote<T>(question: () => Question<T> | null): Remote<T> {
  const state = new Remote<T>();
  let session: string | null = null;
  let abort: AbortController | null = null;

  async function run() {
    const asked = question();
    const id = current.summary?.id;
    if (!asked || id === undefined) return;
    abort?.abort();
    const mine = (abort = new AbortController());
    state.busy = true;
    try {
      const value = await asked.ask(id, mine.signal);
      if (mine.signal.aborted) return;
      state.value = value;
      state.error = null;
    } catch (error) {
      if (mine.signal.aborted) return;
      state.error = error instanceof ApiError ? error : new ApiError(0, String(error), 'reload the page');
    }
    state.busy = false;
  }

  const key = $derived(question()?.key ?? null);
  const id = $derived(current.summary?.id ?? null);
  $effect(() => {
    if (id !== session) state.value = null;
    session = id;
    if (id === null || key === null) return;
    const timer = setTimeout(() => void run(), untrack(() => state.value) === null ? 0 : SETTLE);
    return () => {
      clearTimeout(timer);
      abort?.abort();
      state.busy = false;
    };
  });

  const grown = paced(PACE, () => (current.summary?.state === 'live' ? (current.session?.version ?? 0) : -1));
  let seen = untrack(() => grown.value);
  $effect(() => {
    const now = grown.value;
    if (now === seen || state.busy || key === null || !visible()) return;
    seen = now;
    untrack(() => void run());
  });
  return state;
}
