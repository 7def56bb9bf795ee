// What the page knows of the server: the sessions, the evaluations of those that are looked at, their graphs and token
// texts. One stream of events keeps it up to date; after a lost connection it asks for what it has missed.
import { address, ApiError, get, getAll, getBytes } from './api';
import { labelOf, running } from './joined';
import { BEAT } from './paced.svelte';
import { Timeline } from './timeline';
import type { EvaluationSummary, GraphPart, LiveEvaluations, SessionSummary, Token } from './types';

/** Tokens whose texts are asked for in one go. */
const TEXT_BLOCK = 256;
/** Graphs that are kept. */
const KEPT_GRAPHS = 8;

/** One session and what has been loaded of it. */
export class SessionData {
  readonly timeline = new Timeline();
  readonly tokens = new Map<number, Token>();
  /** Counts changes of the timeline: whoever draws it reads this. */
  version = $state(0);
  /** Counts texts that came. */
  textVersion = $state(0);
  loaded = $state(false);
  error = $state<ApiError | null>(null);
  private graphs = new Map<number, Promise<GraphPart>>();
  private asked = new Set<number>();
  private loading: Promise<void> | null = null;

  constructor(readonly id: string) {}

  /** Asks for the evaluations that are not here yet. */
  load(): Promise<void> {
    this.loading ??= this.fetchTimeline().finally(() => (this.loading = null));
    return this.loading;
  }

  private async fetchTimeline() {
    try {
      const bytes = await getBytes(`/sessions/${this.id}/timeline`, { from: this.timeline.length });
      this.timeline.addBinary(bytes);
      this.error = null;
    } catch (error) {
      this.error = error instanceof ApiError ? error : new ApiError(0, String(error), 'reload the page');
    }
    this.loaded = true;
    this.hear();
  }

  /** Lets the views know that there is more. */
  private hear() {
    this.version++;
    this.textVersion++;
  }

  /** Takes a live event. */
  take(event: LiveEvaluations) {
    if (!this.loaded) return;
    for (const item of event.items) for (const token of item.tokens) this.tokens.set(token.number, token);
    if (!this.timeline.addLive(event.items) || event.total > this.timeline.length) void this.load();
    this.hear();
  }

  /** A token, if it has come already; asks for it if it has not. Reads `textVersion`, so that effects run again. */
  token(number: number): Token | undefined {
    void this.textVersion;
    const known = this.tokens.get(number);
    const block = Math.floor(number / TEXT_BLOCK);
    if (!known && this.loaded && number < this.timeline.tokens && !this.asked.has(block)) {
      this.asked.add(block);
      void this.fetchTexts(block);
    }
    return known;
  }

  /** The text of a token, joined with its neighbours where several tokens are one character; `text` is what another answer
   * says of it. */
  textOf(number: number | null, text: string | null = null): string | null {
    const split = text === null || text.includes('\ufffd');
    const known = number !== null && split ? this.token(number) : undefined;
    return known ? labelOf(known, (n) => this.token(n)) : text;
  }

  /** The texts of tokens one after the other. */
  running(first: number, last: number): string {
    for (let n = first; n <= last; n++) this.token(n);
    return running(first, last, (n) => this.tokens.get(n));
  }

  private async fetchTexts(block: number) {
    const first = block * TEXT_BLOCK;
    try {
      const tokens = `${first}..${first + TEXT_BLOCK - 1}`;
      const all = await getAll<EvaluationSummary>(`/sessions/${this.id}/evaluations`, { tokens });
      for (const evaluation of all) for (const token of evaluation.tokens) this.tokens.set(token.number, token);
      this.textVersion++;
    } catch {
      // Bars without texts tell enough; the next look at them asks again.
      setTimeout(() => this.asked.delete(block), 2000);
      return;
    }
    // The last block of a session that goes on has more to come.
    if (this.timeline.tokens < first + TEXT_BLOCK) this.asked.delete(block);
  }

  /** A whole graph. */
  graph(id: number): Promise<GraphPart> {
    let graph = this.graphs.get(id);
    if (!graph) {
      graph = get<GraphPart>(`/sessions/${this.id}/graphs/${id}`);
      graph.catch(() => this.graphs.delete(id));
      this.graphs.set(id, graph);
      if (this.graphs.size > KEPT_GRAPHS) this.graphs.delete(this.graphs.keys().next().value!);
    }
    return graph;
  }
}

/** What tells one recording from another: every collector counts its sessions from 0. */
export function recordingOf({ name, pid, started_ns }: SessionSummary): string {
  return [name, pid, started_ns].join('/');
}

class Data {
  sessions = $state.raw<SessionSummary[]>([]);
  /** Another collector answers at this address, and its sessions are others: what recordings the ids meant before. */
  strange = $state.raw<ReadonlyMap<string, string> | null>(null);
  /** Lines about programs that are not recorded, and why. */
  notices = $state.raw<string[]>([]);
  /** Whether the list of sessions has come. */
  ready = $state(false);
  connection = $state<'connecting' | 'open' | 'lost'>('connecting');
  error = $state<ApiError | null>(null);
  private loaded = new Map<string, SessionData>();
  /** The recording that an id means. */
  private recordings = new Map<string, string>();
  private source: EventSource | null = null;

  /** Listens as long as the page is seen, and afterwards asks for what it has missed. */
  connect() {
    void this.refresh();
    if (!document.hidden) this.listen();
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) {
        this.source?.close();
        this.source = null;
      } else if (!this.source) {
        this.listen();
        this.catchUp();
      }
    });
  }

  private listen() {
    const source = new EventSource(address('/live', { every: BEAT }));
    this.source = source;
    source.onopen = () => {
      const again = this.connection === 'lost';
      this.connection = 'open';
      if (again) this.catchUp();
    };
    source.onerror = () => {
      this.connection = 'lost';
      // The browser tries again by itself, unless the server said no.
      if (source.readyState === EventSource.CLOSED && this.source === source) {
        setTimeout(() => this.source === source && this.listen(), 1000);
      }
    };
    source.addEventListener('sessions', (event) => this.takeSessions(JSON.parse(event.data)));
    source.addEventListener('notices', (event) => (this.notices = JSON.parse(event.data)));
    source.addEventListener('evaluations', (event) => {
      const evaluations: LiveEvaluations = JSON.parse(event.data);
      this.loaded.get(evaluations.session)?.take(evaluations);
    });
  }

  private catchUp() {
    void this.refresh();
    for (const session of this.loaded.values()) void session.load();
  }

  private async refresh() {
    try {
      this.takeSessions(await get<SessionSummary[]>('/sessions'));
      this.error = null;
    } catch (error) {
      if (error instanceof ApiError) this.error = error;
    }
  }

  private takeSessions(sessions: SessionSummary[]) {
    this.sessions = sessions;
    this.ready = true;
    const differs = (s: SessionSummary) => (this.recordings.get(s.id) ?? recordingOf(s)) !== recordingOf(s);
    if (sessions.some(differs)) this.strange = this.recordings;
    else for (const session of sessions) this.recordings.set(session.id, recordingOf(session));
  }

  /** What is known of a session; its evaluations are loaded the first time. */
  session(id: string): SessionData {
    let session = this.loaded.get(id);
    if (!session) {
      session = new SessionData(id);
      this.loaded.set(id, session);
      void session.load();
    }
    return session;
  }
}

export const data = new Data();
