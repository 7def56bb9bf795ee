// Plays a session: selects one evaluation's tokens after the other, as fast as they were computed or at another pace.
import { current } from '../../lib/current.svelte';
import { selection } from '../../lib/selection.svelte';
import type { Timeline } from '../../lib/timeline';

/** Times the recorded speed, or tokens a second. */
export type Pace = { times: number } | { perSecond: number };

export const PACES: { name: string; pace: Pace }[] = [
  ...[0.25, 0.5, 1, 2, 4, 8, 16].map((times) => ({ name: `${times}×`, pace: { times } })),
  ...[1, 5, 20].map((perSecond) => ({ name: `${perSecond} tok/s`, pace: { perSecond } })),
];

/** Steps are not shown faster than this: what is passed in between is passed over. */
const LEAST_WAIT_MS = 50;

/** How long an evaluation is shown, milliseconds. */
export function shownFor(t: Timeline, seq: number, pace: Pace): number {
  return 'times' in pace ? t.dur_ns[seq] / 1e6 / pace.times : (1000 * t.n_tokens[seq]) / pace.perSecond;
}

/** The next evaluation with tokens. */
export function next(t: Timeline, seq: number): number | undefined {
  for (let i = seq + 1; i < t.length; i++) if (t.n_tokens[i] > 0) return i;
  return undefined;
}

/** Where playback is `ms` milliseconds after it came to `seq`, and what is left of them. */
export function advance(t: Timeline, seq: number, ms: number, pace: Pace): { seq: number; left: number; end: boolean } {
  let left = ms;
  for (;;) {
    const wait = shownFor(t, seq, pace);
    if (left < wait) return { seq, left, end: false };
    const following = next(t, seq);
    if (following === undefined) return { seq, left: 0, end: true };
    left -= wait;
    seq = following;
  }
}

export class Playback {
  playing = $state(false);
  /** Index into PACES. */
  pace = $state(2);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private since = 0;

  toggle() {
    if (this.playing) this.stop();
    else this.start();
  }

  stop() {
    this.playing = false;
    clearTimeout(this.timer);
  }

  private start() {
    const t = current.session?.timeline;
    if (!t || t.tokens === 0) return;
    const at = selection.tokens ? t.seqOfToken(selection.tokens[0]) : undefined;
    const atEnd = at !== undefined && next(t, at) === undefined;
    this.playing = true;
    this.since = performance.now();
    this.show(t, at === undefined || atEnd ? next(t, -1)! : at);
  }

  private show(t: Timeline, seq: number) {
    const first = t.first_token[seq];
    const tokens: [number, number] = [first, first + t.n_tokens[seq] - 1];
    current.selectTokens(tokens, { keep: true });
    const wait = Math.max(LEAST_WAIT_MS, shownFor(t, seq, PACES[this.pace].pace) - (performance.now() - this.since));
    this.timer = setTimeout(() => this.tick(), wait);
  }

  private tick() {
    const t = current.session?.timeline;
    const at = t && selection.tokens ? t.seqOfToken(selection.tokens[0]) : undefined;
    // Nothing is left to play from: the selection was cleared, or the session changed.
    if (!t || at === undefined) return this.stop();
    const now = performance.now();
    const { seq, left, end } = advance(t, at, now - this.since, PACES[this.pace].pace);
    this.since = now - left;
    if (end) {
      if (seq !== at)
        current.selectTokens([t.first_token[seq], t.first_token[seq] + t.n_tokens[seq] - 1], { keep: true });
      return this.stop();
    }
    this.show(t, seq);
  }
}
