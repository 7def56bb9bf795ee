// What changes all the time, seldom enough that looking at it leaves the processor to the program that is looked at.
import { untrack } from 'svelte';

/** Between two questions about a session that grows, milliseconds. */
export const PACE = 2000;

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
