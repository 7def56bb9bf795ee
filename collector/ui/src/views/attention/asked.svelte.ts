// What the view asks the server: answers about a token never change once they are there, so none is asked for twice, and
// the old picture stays until the new one is here.
import { untrack } from 'svelte';
import { ApiError, ended, get, type Query } from '../../lib/api';
import { current } from '../../lib/current.svelte';
import { PACE, paced } from '../../lib/paced.svelte';
import { Matrix } from './matrix';
import type { AttentionMatrix } from './types';

/** The server refuses as many weights: one head is asked for alone then. */
const TOO_LARGE = 413;

function problem(error: unknown): ApiError | null {
  if (ended(error)) return null;
  return error instanceof ApiError ? error : new ApiError(0, String(error), 'reload the page');
}

/** Counts what a session that goes on has more of, at most every so often: what failed may be there now. */
function grown(): { readonly value: number } {
  return paced(PACE, () => (current.summary?.state === 'live' ? (current.session?.version ?? 0) : -1));
}

export class Asked<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  busy = $state(false);
}

/** The answer to a question, by its key; to be called in a component. */
export function asked<T>(question: () => { key: string; path: string; query: Query } | null) {
  const state = new Asked<T>();
  const again = grown();
  let abort: AbortController | null = null;
  const now = $derived(question());
  const key = $derived(now?.key ?? null);
  // Only what failed is asked for again.
  const attempt = $derived(state.error ? again.value : -1);
  $effect(() => {
    void [key, attempt];
    const wanted = untrack(() => now);
    if (!wanted) {
      untrack(() => Object.assign(state, { value: null, error: null }));
      return;
    }
    const mine = (abort = new AbortController());
    state.busy = true;
    get<T>(wanted.path, wanted.query, mine.signal).then(
      (value) => {
        if (abort === mine) Object.assign(state, { value, error: null, busy: false });
      },
      (error) => {
        if (abort === mine) Object.assign(state, { error: problem(error), busy: false });
      },
    );
    return () => {
      mine.abort();
      abort = null;
      state.busy = false;
    };
  });
  return state;
}

/** What the heatmap is of. */
export interface Wanted {
  session: string;
  layer: number;
  head: number;
  first: number;
  last: number;
}

export class Rows {
  /** The rows so far; of the layer before until those of another are here. */
  matrix = $state.raw<Matrix | null>(null);
  error = $state.raw<ApiError | null>(null);
  busy = $state(false);
  /** Whether all heads together were too much, and there is only the selected one. */
  alone = $state(false);
}

/** Rows of a layer: those that are missing are asked for, so a run that goes on grows row by row. */
export function rows(wanted: () => Wanted | null): Rows {
  const state = new Rows();
  const again = grown();
  let of = '';
  let abort: AbortController | null = null;

  async function load(now: Wanted) {
    const name = `${now.session}/${now.layer}`;
    if (name !== of) {
      stop();
      if (of.split('/')[0] !== now.session) Object.assign(state, { matrix: null, alone: false });
    }
    // An answer that is on its way is let come: what follows is asked for afterwards.
    if (abort) return;
    const known = name === of ? state.matrix : null;
    const head = state.alone ? now.head : null;
    const missing = known ? known.missing(now.first, now.last, head) : ([now.first, now.last] as const);
    if (!missing) return;
    of = name;
    const mine = (abort = new AbortController());
    state.busy = true;
    try {
      const query = { layer: now.layer, head, tokens: `${missing[0]}..${missing[1]}` };
      const answer = await get<AttentionMatrix>(`/sessions/${now.session}/attention/matrix`, query, mine.signal);
      if (abort !== mine) return;
      state.matrix = known ? known.with(answer, missing, now.first) : Matrix.from(answer, missing);
      state.error = null;
    } catch (error) {
      if (abort !== mine) return;
      const found = problem(error);
      if (found?.status === TOO_LARGE && !state.alone) {
        state.alone = true;
        of = '';
      } else {
        state.error = found;
        if (!known) of = '';
      }
    }
    abort = null;
    state.busy = false;
  }

  function stop() {
    abort?.abort();
    abort = null;
    state.busy = false;
  }

  const attempt = $derived(state.error ? again.value : -1);
  $effect(() => {
    const now = wanted();
    // An answer that has come may leave some to be asked for.
    void [attempt, state.matrix, state.alone];
    if (now) untrack(() => void load(now));
  });
  $effect(() => stop);
  return state;
}
