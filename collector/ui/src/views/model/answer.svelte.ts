// The answer to a question that may change: a newer question ends an older one; the old answer stays on the screen until
// the new one is here, unless it is of something else.
import { untrack } from 'svelte';
import { ApiError, ended } from '../../lib/api';

export interface Question<T> {
  /** What it is about: an answer about something else is not shown meanwhile. */
  of: string;
  /** How it is asked; another key is another question. */
  key?: string;
  ask: (signal: AbortSignal) => Promise<T>;
}

export class Answer<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  busy = $state(false);
  /** Whether nothing has been answered yet. */
  readonly pending = $derived(this.value === null && this.error === null);
}

/** The answer to `question()`; none is asked while that is null. To be called in a component. */
export function answer<T>(question: () => Question<T> | null): Answer<T> {
  const state = new Answer<T>();
  const id = $derived.by(() => {
    const asked = question();
    return asked && JSON.stringify([asked.of, asked.key ?? '']);
  });
  let about: string | null = null;
  let answered: string | null = null;
  $effect(() => {
    if (id === null || id === answered) return;
    const asked = untrack(question)!;
    if (asked.of !== about) {
      about = asked.of;
      state.value = null;
      state.error = null;
      answered = null;
    }
    const abort = new AbortController();
    state.busy = true;
    asked.ask(abort.signal).then(
      (value) => {
        if (abort.signal.aborted) return;
        state.value = value;
        state.error = null;
        state.busy = false;
        answered = id;
      },
      (error) => {
        if (abort.signal.aborted || ended(error)) return;
        state.error = error instanceof ApiError ? error : new ApiError(0, String(error), 'reload the page');
        state.busy = false;
      },
    );
    return () => {
      abort.abort();
      state.busy = false;
    };
  });
  return state;
}
