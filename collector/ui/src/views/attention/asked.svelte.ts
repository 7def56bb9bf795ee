// What the view asks the server: answers about a token never change once they are there, so none is asked for twice, and
// the old picture stays until the new one is here.
import { untrack } from 'svelte';
import { captures, NOTHING_CAPTURED, nothingCaptured } from '../../components/capture/state.svelte';
import { ApiError, ended, get, type Query } from '../../lib/api';
import { current } from '../../lib/current.svelte';
import { PACE } from '../../lib/paced.svelte';
import { Matrix } from './matrix';
import type { AttentionMatrix } from './types';

/** The server refuses as many weights: one head is asked for alone then. */
const TOO_LARGE = 413;

function problem(error: unknown): ApiError | null {
  if (ended(error)) return null;
  return error instanceof ApiError ? error : new ApiError(0, String(error), 'reload the page');
}

/** What was captured of a token comes a little later than the token: it is asked for again so often, soon and then later. */
const TRIES = 12;
/** It is on disk 150 ms after the token: so many times it is asked for as soon as that. */
const AT_ONCE = 5;
const soon = (tries: number) => Math.min(PACE / 2, 90 * 2 ** Math.max(0, tries - AT_ONCE));
/** So many tokens in a row may have no answer before less is asked about each. */
const FORGIVEN = 2;
/** How many of the tries about a token are used up before the first, after so many without an answer. */
const used = (misses: number) => (misses <= FORGIVEN ? 0 : Math.min(TRIES, AT_ONCE + misses - FORGIVEN));

function isLive(): boolean {
  return untrack(() => current.summary?.state === 'live');
}

/** Whether the session on the screen has nothing captured and none will come: not to be asked for until that changes. */
function isVain(error: ApiError | null, of: string | null): boolean {
  return nothingCaptured(error) && of === current.summary?.id && captures.never(['attention']);
}

export class Asked<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  busy = $state(false);
}

/** The answer to a question, by its key; to be called in a component. */
export function asked<T extends object>(question: () => { key: string; path: string; query: Query } | null) {
  const state = new Asked<T>();
  let abort: AbortController | null = null;
  let tries = 0;
  let attempt = $state(0);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const now = $derived(question());
  const key = $derived(now?.key ?? null);
  let misses = 0;
  /** The session that the error is of. */
  let of = $state.raw<string | null>(null);
  const vain = $derived(isVain(state.error, of));
  const absent = $derived(!captures.ever(['attention']));
  function later() {
    if (!isLive() || tries >= TRIES) return;
    timer = setTimeout(() => attempt++, soon(tries++));
  }
  let before: string | null = null;
  $effect(() => {
    void attempt;
    if (absent) {
      [before, misses] = [null, 0];
      untrack(() => Object.assign(state, { value: null, error: NOTHING_CAPTURED }));
      return;
    }
    if (vain) {
      // Begins anew when something else is captured.
      [before, misses] = [null, 0];
      return;
    }
    if (key !== before) {
      misses = before !== null && untrack(() => state.error) ? misses + 1 : 0;
      tries = used(misses);
    }
    before = key;
    const wanted = untrack(() => now);
    if (!wanted) {
      untrack(() => Object.assign(state, { value: null, error: null }));
      return;
    }
    const mine = (abort = new AbortController());
    state.busy = true;
    get<T>(wanted.path, wanted.query, mine.signal).then(
      (value) => {
        if (abort !== mine) return;
        Object.assign(state, { value, error: null, busy: false });
        if ('refused' in value && (value.refused as unknown[]).length) later();
      },
      (error) => {
        if (abort !== mine) return;
        of = untrack(() => current.summary?.id ?? null);
        Object.assign(state, { error: problem(error), busy: false });
        later();
      },
    );
    return () => {
      clearTimeout(timer);
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
  /** The context whose rows they are; null while there is only one. */
  context: number | null;
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
  /** The session and layer that the rows are of. */
  let of = '';
  let session = '';
  /** What was wanted last. */
  let waiting = '';
  let tries = 0;
  let misses = 0;
  let attempt = $state(0);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let abort: AbortController | null = null;
  const vain = $derived(isVain(state.error, wanted()?.session ?? null));
  const absent = $derived(!captures.ever(['attention']));

  async function load(now: Wanted) {
    const name = `${now.session}/${now.context}/${now.layer}`;
    if (name !== of) {
      stop();
      if (session !== now.session) Object.assign(state, { matrix: null, alone: false, error: null });
      session = now.session;
    }
    const range = `${name}/${now.first}..${now.last}`;
    if (range !== waiting) {
      // What waits to be asked again is asked for with what is new.
      clearTimeout(timer);
      misses = waiting && state.error ? misses + 1 : 0;
      [timer, tries, waiting] = [undefined, used(misses), range];
    }
    // An answer that is on its way is let come: what follows is asked for afterwards.
    if (abort || timer !== undefined) return;
    const known = name === of ? state.matrix : null;
    const head = state.alone ? now.head : null;
    const missing = known ? known.missing(now.first, now.last, head) : ([now.first, now.last] as const);
    if (!missing) return;
    of = name;
    const mine = (abort = new AbortController());
    state.busy = true;
    try {
      const query = { context: now.context, layer: now.layer, head, tokens: `${missing[0]}..${missing[1]}` };
      const answer = await get<AttentionMatrix>(`/sessions/${now.session}/attention/matrix`, query, mine.signal);
      if (abort !== mine) return;
      // Rows of the newest tokens may come a little later; one that others follow will not.
      const newest = answer.rows.at(-1)?.token ?? missing[0] - 1;
      if (answer.rows.length) tries = 0;
      const again = newest < missing[1] && later(answer.rows.length ? PACE / 2 : soon(tries));
      const done = [missing[0], again ? newest : missing[1]] as const;
      state.matrix = known ? known.with(answer, done, now.first) : Matrix.from(answer, done);
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
        later(soon(tries));
      }
    }
    abort = null;
    state.busy = false;
  }

  /** Asks again in a while; returns whether it will. */
  function later(ms: number): boolean {
    if (!isLive() || tries >= TRIES) return false;
    tries++;
    timer = setTimeout(() => {
      timer = undefined;
      attempt++;
    }, ms);
    return true;
  }

  function stop() {
    clearTimeout(timer);
    timer = undefined;
    abort?.abort();
    abort = null;
    state.busy = false;
  }

  $effect(() => {
    const now = wanted();
    // An answer that has come may leave some to be asked for.
    void [attempt, state.matrix, state.alone];
    if (absent) untrack(() => Object.assign(state, { matrix: null, error: NOTHING_CAPTURED }));
    if (vain || absent) [waiting, misses] = ['', 0];
    else if (now) untrack(() => void load(now));
  });
  $effect(() => stop);
  return state;
}
