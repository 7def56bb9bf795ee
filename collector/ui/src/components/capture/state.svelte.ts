// What is captured of the session on the screen: asked for as long as something on the page shows it, and changed from
// there. All that show it share one answer.
import { untrack } from 'svelte';
import { ApiError, get, put } from '../../lib/api';
import { current } from '../../lib/current.svelte';
import {
  bringsNone,
  captureOf,
  formOf,
  isSet,
  withSets,
  type CaptureOf,
  type CaptureState,
  type SetName,
} from './settings';

/** Between two questions, milliseconds: while something is about to change, and otherwise. */
const SOON = 400;
const SELDOM = 3000;

/** Whether an error says that a session has nothing captured of what was asked for, of any token. */
export function nothingCaptured(error: ApiError | null): boolean {
  return error?.status === 404 && error.field === 'id';
}

/** What the server would say of a session that has nothing captured: it is not asked. */
export const NOTHING_CAPTURED = new ApiError(404, 'nothing of it was captured', 'record with --capture', 'id');

class Captures {
  state = $state.raw<CaptureState | null>(null);
  /** Why the last change was refused. */
  error = $state.raw<ApiError | null>(null);
  busy = $state(false);
  /** The token from which on there is what is captured now; null if it is not known yet. */
  readonly since: number | null = $derived.by(() => {
    const [state, session] = [this.state, current.session];
    if (!state || !session || state.now.names.length === 0) return null;
    void session.version;
    const timeline = session.timeline;
    for (let seq = Math.min(timeline.length - 1, state.from_eval); seq >= 0 && seq < timeline.length; seq++) {
      if (timeline.eval[seq] >= state.from_eval && timeline.n_tokens[seq] > 0) return timeline.first_token[seq];
    }
    return null;
  });
  private id: string | null = null;
  private lookers = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** Keeps the answer up to date as long as the component lives that calls it. */
  watch() {
    // The summary is another one with every token.
    const live = $derived(current.summary?.state === 'live' ? current.summary.id : null);
    $effect(() => {
      const id = live;
      untrack(() => {
        this.lookers++;
        if (id !== this.id) {
          this.id = id;
          Object.assign(this, { state: null, error: null });
        }
        void this.look();
      });
      return () => {
        this.lookers--;
        if (this.lookers === 0) clearTimeout(this.timer);
      };
    });
  }

  private async look() {
    clearTimeout(this.timer);
    const id = this.id;
    if (id === null) return;
    if (!document.hidden) {
      try {
        const state = await get<CaptureState>(`/sessions/${id}/capture`);
        if (id === this.id && !this.busy) this.state = state;
      } catch {
        // The page says by itself that the collector does not answer.
      }
    }
    if (id !== this.id || this.lookers === 0) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.look(), this.state?.next ? SOON : SELDOM);
  }

  /** Captures something else from now on; returns whether that was taken. */
  async change(capture: CaptureOf): Promise<boolean> {
    const id = this.id;
    if (id === null) return false;
    this.busy = true;
    try {
      const state = await put<CaptureState>(`/sessions/${id}/capture`, capture);
      if (id === this.id) Object.assign(this, { state, error: null });
      return true;
    } catch (error) {
      if (id === this.id)
        this.error = error instanceof ApiError ? error : new ApiError(0, String(error), 'reload the page');
      return false;
    } finally {
      this.busy = false;
      void this.look();
    }
  }

  /** What will be captured as soon as the process has taken it. */
  get wanted(): CaptureOf | null {
    return this.state && (this.state.next ?? this.state.now);
  }

  /** Whether nothing of these sets comes until the capture is changed: to ask for it would be for nothing. */
  never(sets: readonly SetName[]): boolean {
    return this.state !== null && bringsNone(this.state, sets);
  }

  /** Whether any of these sets, or a tensor that might belong to them, was captured of the session on the screen. */
  ever(sets: readonly SetName[]): boolean {
    const names = current.summary?.captured;
    return !names || names.some((name) => !isSet(name) || sets.includes(name));
  }

  /** Captures these sets too; whatever limits there are stay. */
  async add(sets: readonly SetName[]) {
    if (this.wanted) await this.change(withSets(captureOf(formOf(this.wanted)), sets));
  }
}

export const captures = new Captures();
