// Rows of a long list on the server, loaded in blocks when they come into view. The blocks that were looked at last are
// kept; a request for a block that has scrolled out before it came is cancelled.
import { ApiError } from '../../lib/api';
import type { Page } from '../../lib/types';

/** Rows of a block. */
export const BLOCK = 200;
/** Blocks that are kept. */
const KEPT = 60;
/** Milliseconds that a view has to stay before its blocks are asked for. */
const PAUSE = 30;

export type Fetch<T> = (offset: number, limit: number, signal: AbortSignal) => Promise<Page<T>>;

interface Block<T> {
  items: T[];
  /** Whether the server may know better by now; it is shown until that has come. */
  stale: boolean;
}

export class Blocks<T> {
  /** How many rows there are in all, once the server has said it. */
  total = $state<number | null>(null);
  /** Counts changes: whoever shows rows reads this. */
  version = $state(0);
  error = $state.raw<ApiError | null>(null);
  /** The blocks, that of the latest use last. */
  private blocks = new Map<number, Block<T>>();
  private pending = new Map<number, AbortController>();
  private wanted: [number, number] = [0, 0];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private counting: AbortController | null = null;
  private closed = false;

  constructor(private readonly fetch: Fetch<T>) {}

  /** A row, if it is here. */
  row(index: number): T | undefined {
    return this.blocks.get(Math.floor(index / BLOCK))?.items[index % BLOCK];
  }

  /** Says which rows are in view: they are loaded, and requests for others are cancelled. */
  want(first: number, last: number) {
    this.wanted = [Math.floor(Math.max(0, first) / BLOCK), Math.floor(Math.max(0, last) / BLOCK)];
    for (const [block, abort] of this.pending) {
      if (block >= this.wanted[0] && block <= this.wanted[1]) continue;
      abort.abort();
      this.pending.delete(block);
    }
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.load();
    }, PAUSE);
  }

  private load() {
    if (this.closed || this.error) return;
    const end = this.total === null ? this.wanted[0] : Math.floor(Math.max(0, this.total - 1) / BLOCK);
    for (let block = this.wanted[0]; block <= Math.min(end, this.wanted[1]); block++) {
      const known = this.blocks.get(block);
      if (known) {
        this.blocks.delete(block);
        this.blocks.set(block, known);
      }
      if ((!known || known.stale) && !this.pending.has(block)) void this.loadBlock(block);
    }
  }

  private async loadBlock(block: number) {
    const abort = new AbortController();
    this.pending.set(block, abort);
    try {
      const page = await this.fetch(block * BLOCK, BLOCK, abort.signal);
      if (abort.signal.aborted) return;
      this.blocks.delete(block);
      this.blocks.set(block, { items: page.items, stale: false });
      while (this.blocks.size > KEPT) this.blocks.delete(this.blocks.keys().next().value!);
      this.total = page.total;
      this.version++;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error instanceof ApiError ? error : new ApiError(0, String(error), 'try again');
    } finally {
      if (this.pending.get(block) === abort) this.pending.delete(block);
    }
    // The first answer says how many there are: more blocks may be in view than were known to exist.
    this.load();
  }

  /** Asks how many rows there are by now. `appended`: new ones are at the end, so that full blocks stay as they are. */
  async refresh(appended: boolean) {
    if (this.counting || this.closed || this.error || this.total === null) return;
    const abort = (this.counting = new AbortController());
    try {
      const { total } = await this.fetch(0, 1, abort.signal);
      if (abort.signal.aborted || total === this.total) return;
      for (const block of this.blocks.values()) block.stale = !appended || block.items.length < BLOCK;
      this.total = total;
      this.version++;
      this.load();
    } catch {
      // The number on the screen stays until the next question is answered.
    } finally {
      this.counting = null;
    }
  }

  /** Asks again for what has failed. */
  retry() {
    this.error = null;
    this.load();
  }

  /** Cancels all; nothing more comes. */
  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.counting?.abort();
    for (const abort of this.pending.values()) abort.abort();
    this.pending.clear();
  }
}
