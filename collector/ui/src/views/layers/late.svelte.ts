// What was captured of a token comes a little later than the token: while something of a session that goes on is missing, it
// is asked for again, a few times.
import { untrack } from 'svelte';
import { current } from '../../lib/current.svelte';

/** So often, and so much later each time. */
const TRIES = 6;
const LATER_MS = 700;

/** Counts the times to ask again about `key`, as long as `missing` says that something is; to be called in a component. */
export function late(key: () => string, missing: () => boolean): { readonly attempt: number } {
  let attempt = $state(0);
  let tries = 0;
  let before = '';
  $effect(() => {
    const now = key();
    if (now !== before) tries = 0;
    before = now;
    void attempt;
    if (!missing() || tries >= TRIES || untrack(() => current.summary?.state !== 'live')) return;
    const timer = setTimeout(() => {
      tries++;
      attempt++;
    }, LATER_MS);
    return () => clearTimeout(timer);
  });
  return {
    get attempt() {
      return attempt;
    },
  };
}
