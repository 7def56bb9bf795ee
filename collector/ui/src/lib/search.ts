// The key `/`, which is the same in every view that has a field to search or filter by.
import type { Key } from './keys.svelte';

/** The key that goes to a field: what stands there is selected, so that what is typed replaces it. */
export function searchKey(does: string, group: string, field: () => HTMLInputElement | null | undefined): Key {
  const run = () => {
    field()?.focus();
    field()?.select();
  };
  return { keys: ['/'], does, group, run };
}
