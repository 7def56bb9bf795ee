// An answer of the server that follows its question: the old one stays until the new one is here, a newer question ends
// an older one, and a session that grows is asked about again, at most every two seconds while someone looks.
import { untrack } from 'svelte';
import { on } from 'svelte/events';
import { createSubscriber } from 'svelte/reactivity';
import { ApiError, ended } from '../../lib/api';
import { current } from '../../lib/current.svelte';
import { PACE, paced } from '../../lib/calm.svelte';

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
  /** Whether nothing has been answered yet. */
  readonly pending = $derived(this.value === null && this.error === null);
}

/** The answer to `question()`; none is asked while that is null. To be called in a component. */
export function remote<T>(question: () => Question<T> | null): Remote<T> {
  const state = new Remote<T>();
  let session: string | null = null;
  let abort: AbortController | null = null;
  let again = false;

  function stop() {
    abort?.abort();
    abort = null;
    again = false;
    state.busy = false;
  }

  async function run() {
    const asked = question();
    const id = current.summary?.id;
    if (!asked || id === undefined) return;
    // What is followed moves on all the time: an answer that is about to come is let come.
    if (abort && current.following) {
      again = true;
      return;
    }
    stop();
    const mine = (abort = new AbortController());
    state.busy = true;
    try {
      const value = await asked.ask(id, mine.signal);
      if (abort !== mine) return;
      state.value = value;
      state.error = null;
    } catch (error) {
      if (abort !== mine) return;
      if (!ended(error)) {
        state.error = error instanceof ApiError ? error : new ApiError(0, String(error), 'reload the page');
      }
    }
    abort = null;
    state.busy = false;
    if (!again) return;
    again = false;
    untrack(() => void run());
  }

  const key = $derived(question()?.key ?? null);
  const id = $derived(current.summary?.id ?? null);
  $effect(() => {
    if (id !== session) {
      stop();
      state.value = null;
      state.error = null;
    }
    session = id;
    if (id === null || key === null) {
      stop();
      return;
    }
    const timer = setTimeout(() => untrack(() => void run()), untrack(() => state.value) === null ? 0 : SETTLE);
    return () => clearTimeout(timer);
  });
  $effect(() => stop);

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
