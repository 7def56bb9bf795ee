// Asks every two seconds, while the page is seen, which pages of the files are in memory.
import { untrack } from 'svelte';
import { ApiError, get } from '../../lib/api';
import { current } from '../../lib/current.svelte';
import type { Region, Residency } from '../../lib/types';
import type { Reads } from './load.svelte';
import { pagesOf, states, totals, type Part, type State, type Totals } from './residency';

const EVERY = 2000;

export class Pages {
  private answers = $state.raw<Map<string, Residency>>(new Map());
  /** Why they are not known. */
  reason = $state<string | null>(null);

  constructor(private readonly reads: Reads) {}

  private readonly files: string[] = $derived.by(() =>
    this.reads.places.filter((p) => p.memory === 'DISK').map((p) => p.place),
  );
  private readonly key: string = $derived(this.files.join('\n'));

  /** What is read and what is in memory, by file. */
  readonly states: Map<string, State[]> = $derived.by(() => {
    const found = new Map<string, State[]>();
    for (const [place, answer] of this.answers) found.set(place, compare(answer, this.reads.whole));
    return found;
  });

  /** Over all files that are known. */
  readonly totals: Totals | null = $derived.by(() => {
    if (this.answers.size === 0) return null;
    let size = 0;
    for (const answer of this.answers.values()) size += sizeOf(answer);
    return totals([...this.states.values()].flat(), size);
  });

  private readonly session: string | undefined = $derived(current.summary?.id);

  /** Keeps asking; to be called once, in a component. */
  watch() {
    $effect(() => {
      const { session } = this;
      const files = this.key ? this.key.split('\n') : [];
      this.answers = new Map();
      this.reason = null;
      if (session === undefined || files.length === 0) return;
      const abort = new AbortController();
      let timer: ReturnType<typeof setTimeout>;
      const ask = async () => {
        if (!(await this.mayAsk(session, abort.signal))) return;
        const never = document.visibilityState === 'visible' && (await this.ask(session, files, abort.signal));
        if (!never && !abort.signal.aborted) timer = setTimeout(() => void ask(), EVERY);
      };
      void ask();
      return () => {
        abort.abort();
        clearTimeout(timer);
      };
    });
  }

  /** Whether the collector may look at the session's model: it records the session, or the model was named. */
  private async mayAsk(session: string, signal: AbortSignal): Promise<boolean> {
    if (untrack(() => current.summary?.recorded_here ?? true)) return true;
    const models = await get<{ sessions: string[] }[]>('/models', {}, signal).catch(() => []);
    if (models.some((model) => model.sessions.includes(session))) return true;
    if (!signal.aborted) {
      this.reason =
        'the session is not recorded here, so its files may have changed; name the model with ggscope open --model FILE to see which of its pages are in memory';
    }
    return false;
  }

  /** Returns whether there is no use in asking again. */
  private async ask(session: string, files: string[], signal: AbortSignal): Promise<boolean> {
    let never = true;
    const found = new Map<string, Residency>();
    let reason: string | null = null;
    for (const place of files) {
      try {
        found.set(place, await get<Residency>(`/sessions/${session}/residency`, { place }, signal));
        never = false;
      } catch (error) {
        if (signal.aborted) return true;
        never &&= error instanceof ApiError && error.status === 404;
        reason = error instanceof ApiError ? [error.message, error.help].filter(Boolean).join('; ') : String(error);
        // Said in a sentence: code needs no marks there.
        reason = reason.replaceAll('`', '');
      }
    }
    this.answers = found;
    this.reason = reason;
    return never;
  }
}

function sizeOf(answer: Residency): number {
  return answer.pages * answer.page_bytes;
}

function compare(answer: Residency, regions: readonly Region[]): State[] {
  const size = sizeOf(answer);
  const read = regions
    .filter((r) => r.memory === 'DISK' && r.place === answer.place)
    .map((r): Part => [r.start, r.start + r.bytes])
    .sort((a, b) => a[0] - b[0]);
  const resident = answer.resident.map(([first, n]): Part => [
    first * answer.page_bytes,
    (first + n) * answer.page_bytes,
  ]);
  return states(pagesOf(read, answer.page_bytes, size), resident);
}
