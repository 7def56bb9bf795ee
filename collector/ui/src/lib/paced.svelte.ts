// What changes all the time, seldom enough that looking at it leaves the processor to the program that is looked at.
import { untrack } from 'svelte';

/** Cores up to which they are thought to be the traced program's. */
const FEW_CORES = 4;
const few = typeof navigator !== 'undefined' && navigator.hardwareConcurrency <= FEW_CORES;

/**
 * Between two pictures of a session that goes on, milliseconds. All that is new comes to the screen in one of them, as
 * most of a picture's cost is the browser's and does not depend on how much is drawn.
 */
export const BEAT = few ? 400 : 150;

/** Between two questions about a session that grows, and two tokens that are selected while following, milliseconds. */
export const PACE = few ? 3000 : 1500;

/** How long something new has to wait, milliseconds: not at all if less than half a beat is left, so that it is on the beat. */
export function pause(last: number, every: number): number {
  const left = last + every - performance.now();
  // What comes after the last beat is not to come between two.
  return left <= BEAT / 2 ? 0 : left + BEAT;
}

/** `read()`, that changes at most every `ms` milliseconds; to be called in a component. */
export function paced<T>(ms: number, read: () => T): { readonly value: T } {
  let value = $state.raw(untrack(read));
  let last = -ms;
  let begun = false;
  $effect(() => {
    const next = read();
    const take = () => {
      value = next;
      // The first is there from the beginning: it makes nothing wait.
      if (begun) last = performance.now();
      begun = true;
    };
    const wait = pause(last, ms);
    if (wait === 0) return take();
    const timer = setTimeout(take, wait);
    return () => clearTimeout(timer);
  });
  return {
    get value() {
      return value;
    },
  };
}
