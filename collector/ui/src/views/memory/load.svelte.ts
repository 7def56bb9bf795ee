// Asks for the regions that were read: of the selected tokens, and of the whole run beside them. What came before stays on
// the screen until the next is here.
import { untrack } from 'svelte';
import { ApiError, get, getAll } from '../../lib/api';
import { current } from '../../lib/current.svelte';
import { rangeText, selection, type Range } from '../../lib/selection.svelte';
import type { PlaceSummary, Region } from '../../lib/types';

/** Milliseconds between two questions: for other tokens, for a session that grew, and for what hardly changes. */
const SOON = 250;
const GROWN = 2000;
const ASIDE = 5000;
/** Regions of one answer. */
const LIMIT = 10_000;

interface Wanted {
  session: string;
  tokens: Range | null;
  /** How many evaluations there were. */
  length: number;
  /** Whether all of the tokens were there: they read no more than they did. */
  done: boolean;
}

export class Reads {
  /** What the selected tokens read; everything if none are selected. */
  regions = $state.raw<Region[]>([]);
  /** What was ever read. */
  whole = $state.raw<Region[]>([]);
  places = $state.raw<PlaceSummary[]>([]);
  /** The tokens that `regions` is of. */
  tokens = $state.raw<Range | null>(null);
  loading = $state(false);
  /** Whether the session on the screen has answered. */
  ready = $state(false);
  error = $state.raw<ApiError | null>(null);
  private session = '';
  private shown: Wanted | null = null;
  private wholeLength = 0;
  private next: Wanted | null = null;
  private underWay: Wanted | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = 0;
  private askedWhole = 0;
  private abort: AbortController | null = null;

  /** Keeps all of it what the selection says; to be called once, in a component. */
  watch() {
    $effect(() => {
      const [session, tokens] = [current.session, selection.tokens];
      if (!session?.loaded) return;
      void session.version;
      const timeline = session.timeline;
      const done = tokens !== null && tokens[1] < timeline.tokens - 1;
      const wanted = { session: session.id, tokens, length: timeline.length, done };
      untrack(() => this.want(wanted));
    });
    $effect(() => () => {
      clearTimeout(this.timer);
      this.abort?.abort();
    });
  }

  private want(wanted: Wanted) {
    if (wanted.session !== this.session) {
      this.abort?.abort();
      Object.assign(this, { session: wanted.session, shown: null, next: null, ready: false, asked: 0, askedWhole: 0 });
      Object.assign(this, { regions: [], whole: [], places: [], error: null, wholeLength: 0 });
    }
    const was = this.next ?? this.underWay ?? this.shown;
    if (was && same(was, wanted) && !this.error) return;
    this.next = wanted;
    this.plan();
  }

  private plan() {
    if (!this.next || this.loading) return;
    const other = !this.shown || rangeOf(this.shown) !== rangeOf(this.next);
    const pause = other ? SOON : this.next.done ? ASIDE : GROWN;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.ask(), Math.max(0, this.asked + pause - Date.now()));
  }

  private async ask() {
    const wanted = this.next;
    if (!wanted) return;
    this.next = null;
    this.underWay = wanted;
    this.loading = true;
    this.asked = Date.now();
    const abort = (this.abort = new AbortController());
    const path = `/sessions/${wanted.session}`;
    const memory = (tokens: Range | null) =>
      getAll<Region>(`${path}/memory`, { tokens: tokens && rangeText(tokens), limit: LIMIT }, abort.signal);
    try {
      const aside = wanted.length !== this.wholeLength && Date.now() >= this.askedWhole + ASIDE;
      const all = wanted.tokens === null || aside;
      const [regions, whole, places] = await Promise.all([
        memory(wanted.tokens),
        wanted.tokens !== null && aside ? memory(null) : null,
        all ? get<PlaceSummary[]>(`${path}/places`, {}, abort.signal) : this.places,
      ]);
      if (abort.signal.aborted) return;
      Object.assign(this, { regions, places, tokens: wanted.tokens, shown: wanted, error: null, ready: true });
      if (all) Object.assign(this, { whole: whole ?? regions, wholeLength: wanted.length, askedWhole: Date.now() });
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error instanceof ApiError ? error : new ApiError(0, String(error), 'reload the page');
    } finally {
      if (this.abort === abort) {
        this.loading = false;
        this.underWay = null;
        this.plan();
      }
    }
  }
}

const rangeOf = (wanted: Wanted) => wanted.tokens && rangeText(wanted.tokens);
const same = (a: Wanted, b: Wanted) => a.session === b.session && rangeOf(a) === rangeOf(b) && a.length === b.length;
