// What changes many times a second, looked at less often: a page beside a program that runs must not take its time.

/** A number that grows after `read` has changed: at once, and then not sooner than `every` milliseconds later. To be made
 * in a component or an effect. */
export class Paced {
  private version = $state(0);
  private last = -Infinity;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    read: () => unknown,
    private readonly every: () => number,
  ) {
    $effect(() => {
      void read();
      const wait = this.last + this.every() - performance.now();
      if (wait <= 0) this.next();
      else this.timer ??= setTimeout(() => this.next(), wait);
    });
    $effect(() => () => clearTimeout(this.timer));
  }

  get value(): number {
    return this.version;
  }

  private next() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.last = performance.now();
    // Written without being read: the effect above does not depend on it.
    this.version = this.last;
  }
}
