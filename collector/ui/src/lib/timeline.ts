// The evaluations of a session as columns: read from the server's binary form, extended by live events.
import type { LiveEvaluation } from './types';

const F64 = ['start_ns', 'dur_ns', 'disk_bytes', 'buffer_bytes'] as const;
const U32 = [
  'eval',
  'graph',
  'context',
  'first_token',
  'n_tokens',
  'n_generated',
  'n_unknown',
  'operators',
  'untimed',
  'minor_faults',
  'major_faults',
] as const;
const VERSION = 3;
const HEADER_BYTES = 32;

type F64Column = (typeof F64)[number];
type U32Column = (typeof U32)[number];

/** One evaluation, by its number in the order of arrival. */
export interface Row extends Record<F64Column | U32Column, number> {
  seq: number;
  status: number;
}

/** All evaluations of a session, in the order of arrival. `start_ns` counts from the first of them. */
export class Timeline {
  length = 0;
  private capacity = 0;
  start_ns = new Float64Array();
  dur_ns = new Float64Array();
  disk_bytes = new Float64Array();
  buffer_bytes = new Float64Array();
  eval = new Uint32Array();
  graph = new Uint32Array();
  context = new Uint32Array();
  first_token = new Uint32Array();
  n_tokens = new Uint32Array();
  n_generated = new Uint32Array();
  n_unknown = new Uint32Array();
  operators = new Uint32Array();
  untimed = new Uint32Array();
  minor_faults = new Uint32Array();
  major_faults = new Uint32Array();
  status = new Int32Array();
  /** The contexts that computed something, with the newest token of each; -1 before any. */
  readonly contexts = new Map<number, number>();
  /** Latest end of an evaluation, nanoseconds from the first begin. */
  end_ns = 0;

  /** Adds what `/timeline?from=` answered; what is known already is passed over. Returns how many are new. */
  addBinary(buffer: ArrayBuffer): number {
    const view = new DataView(buffer);
    if (buffer.byteLength < HEADER_BYTES || view.getUint32(0, false) !== 0x4747544c) {
      throw new Error('the timeline that came is none: it does not begin with GGTL');
    }
    if (view.getUint32(4, true) !== VERSION) {
      throw new Error(`the timeline that came is of version ${view.getUint32(4, true)}: reload the page`);
    }
    const n = view.getUint32(8, true);
    const from = view.getFloat64(16, true);
    if (buffer.byteLength !== HEADER_BYTES + n * (F64.length * 8 + (U32.length + 1) * 4)) {
      throw new Error('the timeline that came is cut');
    }
    const skip = Math.max(0, this.length - from);
    if (from > this.length || skip >= n) return 0;
    const at = this.length;
    this.reserve(at + n - skip);
    let offset = HEADER_BYTES;
    for (const name of F64) {
      this[name].set(new Float64Array(buffer, offset, n).subarray(skip), at);
      offset += n * 8;
    }
    for (const name of U32) {
      this[name].set(new Uint32Array(buffer, offset, n).subarray(skip), at);
      offset += n * 4;
    }
    this.status.set(new Int32Array(buffer, offset, n).subarray(skip), at);
    this.grow(at + n - skip);
    return n - skip;
  }

  /**
   * Adds what a live event carried. Returns false if evaluations before it are missing. One that is known comes again with
   * another phase: its context turned out to draft for another one.
   */
  addLive(items: LiveEvaluation[]): boolean {
    for (const item of items) {
      if (item.seq < this.length) {
        this.n_generated[item.seq] = item.n_generated;
        continue;
      }
      if (item.seq > this.length) return false;
      const at = this.length;
      this.reserve(at + 1);
      for (const name of F64) this[name][at] = item[name];
      for (const name of U32) this[name][at] = item[name];
      this.status[at] = item.status;
      this.grow(at + 1);
    }
    return true;
  }

  /** An evaluation. */
  row(seq: number): Row | undefined {
    if (!(seq >= 0 && seq < this.length)) return undefined;
    const row = { seq, status: this.status[seq] } as Row;
    for (const name of F64) row[name] = this[name][seq];
    for (const name of U32) row[name] = this[name][seq];
    return row;
  }

  /** The evaluation that a token went into; evaluations with tokens are in the order of their tokens. */
  seqOfToken(token: number): number | undefined {
    let low = 0;
    let high = this.length - 1;
    let found: number | undefined;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.first_token[middle] <= token) {
        found = middle;
        low = middle + 1;
      } else high = middle - 1;
    }
    while (found !== undefined && found > 0 && this.n_tokens[found] === 0) found--;
    if (found === undefined || token >= this.first_token[found] + this.n_tokens[found]) return undefined;
    return found;
  }

  /** The context that computed a token. */
  contextOf(token: number): number | undefined {
    const seq = this.seqOfToken(token);
    return seq === undefined ? undefined : this.context[seq];
  }

  /**
   * The first `most` tokens of a context, or of all: the first and the last of them, and how many there are. Tokens of other
   * contexts may lie between them. Null without any.
   */
  reach(context: number | null, most: number): { first: number; last: number; tokens: number } | null {
    const found = { first: 0, last: 0, tokens: 0 };
    for (let seq = 0; seq < this.length && found.tokens < most; seq++) {
      if (this.n_tokens[seq] === 0 || (context !== null && this.context[seq] !== context)) continue;
      const [first, n] = [this.first_token[seq], Math.min(this.n_tokens[seq], most - found.tokens)];
      if (found.tokens === 0) found.first = first;
      found.last = first + n - 1;
      found.tokens += n;
    }
    return found.tokens > 0 ? found : null;
  }

  /** How many tokens there are. */
  get tokens(): number {
    for (let i = this.length - 1; i >= 0; i--) {
      if (this.n_tokens[i] > 0) return this.first_token[i] + this.n_tokens[i];
    }
    return 0;
  }

  private reserve(length: number) {
    if (length <= this.capacity) return;
    this.capacity = Math.max(length, this.capacity * 2, 256);
    for (const name of F64) {
      const grown = new Float64Array(this.capacity);
      grown.set(this[name].subarray(0, this.length));
      this[name] = grown;
    }
    for (const name of U32) {
      const grown = new Uint32Array(this.capacity);
      grown.set(this[name].subarray(0, this.length));
      this[name] = grown;
    }
    const status = new Int32Array(this.capacity);
    status.set(this.status.subarray(0, this.length));
    this.status = status;
  }

  private grow(length: number) {
    for (let i = this.length; i < length; i++) {
      this.end_ns = Math.max(this.end_ns, this.start_ns[i] + this.dur_ns[i]);
      const last = this.n_tokens[i] > 0 ? this.first_token[i] + this.n_tokens[i] - 1 : -1;
      this.contexts.set(this.context[i], Math.max(last, this.contexts.get(this.context[i]) ?? -1));
    }
    this.length = length;
  }
}
