// What the analytics are of: the selected tokens, of one context. While the newest token is followed it is the one of at most two seconds
// ago, so that numbers are there long enough to be read, and the page leaves the processor to the program that it watches.
import { untrack } from 'svelte';
import { contexts } from '../../lib/contexts.svelte';
import { current } from '../../lib/current.svelte';
import { PACE, paced } from '../../lib/paced.svelte';
import { rangeText, selection, type Range } from '../../lib/selection.svelte';

class Shown {
  private calm = $state.raw<Range | null>(null);

  get tokens(): Range | null {
    return current.following ? this.calm : selection.tokens;
  }

  /** The context; null while there is only one. */
  get context(): number | null {
    return contexts.chosen;
  }

  /** `7..9` for the server. */
  get text(): string | null {
    return this.tokens && rangeText(this.tokens);
  }

  /** Keeps up with the selection; to be called once, in a component. */
  watch() {
    const calm = paced(PACE, () => selection.tokens);
    this.calm = untrack(() => calm.value);
    $effect(() => {
      this.calm = calm.value;
    });
  }
}

export const shown = new Shown();
