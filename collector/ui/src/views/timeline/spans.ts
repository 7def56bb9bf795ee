// The operators of evaluations that are looked at closely, asked for a few at a time and kept for a while.
import { get } from '../../lib/api';
import type { SessionData } from '../../lib/data.svelte';
import type { GraphPart, GraphTensor, Spans } from '../../lib/types';
import { flameOf, tensorsOf, type Flame } from './flame';

/** Evaluations whose operators are kept. */
const KEPT = 30;
/** Questions at the same time. */
const AT_ONCE = 2;
/** What did not come is asked for again after this. */
const AGAIN_MS = 3000;

type Entry = Flame | { error: string } | 'asked';

export class FlameStore {
  private entries = new Map<number, Entry>();
  private tensors = new WeakMap<GraphPart, Map<number, GraphTensor>>();
  private asking = 0;

  /** `changed` is called when something has come. */
  constructor(
    private readonly session: SessionData,
    private readonly changed: () => void,
  ) {}

  /** The flame of an evaluation, if it is here; asks for it if not, unless enough is asked for already. */
  flame(seq: number): Entry | undefined {
    const entry = this.entries.get(seq);
    if (entry) {
      // The latest that was looked at is the last that goes.
      this.entries.delete(seq);
      this.entries.set(seq, entry);
      return entry;
    }
    if (this.asking >= AT_ONCE) return undefined;
    this.asking++;
    this.entries.set(seq, 'asked');
    void this.fetch(seq).finally(() => {
      this.asking--;
      this.changed();
    });
    return 'asked';
  }

  private async fetch(seq: number) {
    const { timeline, id } = this.session;
    try {
      const [spans, graph] = await Promise.all([
        get<Spans>(`/sessions/${id}/evaluations/${timeline.eval[seq]}/spans`),
        this.session.graph(timeline.graph[seq]),
      ]);
      let tensors = this.tensors.get(graph);
      if (!tensors) this.tensors.set(graph, (tensors = tensorsOf(graph)));
      this.entries.set(seq, flameOf({ ...spans, seq }, graph, tensors));
    } catch (error) {
      this.entries.set(seq, { error: error instanceof Error ? error.message : String(error) });
      setTimeout(() => {
        this.entries.delete(seq);
        this.changed();
      }, AGAIN_MS);
    }
    for (const old of this.entries.keys()) {
      if (this.entries.size <= KEPT) break;
      if (this.entries.get(old) !== 'asked') this.entries.delete(old);
    }
  }
}
