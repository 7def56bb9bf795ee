// The one selection that all views share. It lives in the address, so that a link reproduces what is on the screen.
import { untrack } from 'svelte';
import { rangeText, VIEWS, type Range, type View } from './names';
import { formatPlace, NOWHERE, parsePlace, type ModelPlace } from '../views/model/place';

export { rangeText, VIEWS };
export type { Range, View };
export type Panel = View | 'timeline';

/** What is selected; null is nothing, and no filter. */
export interface Selected {
  session: string | null;
  tokens: Range | null;
  /** The context that views show while no token is selected; null is the usual one. */
  context: number | null;
  layer: number | null;
  /** Attention head of that layer. */
  head: number | null;
  /** Token whose key that head looked at: the cell of the heatmap. */
  key: number | null;
  /** How the view of attention is set, in its own words. */
  attention: string | null;
  /** How the view of heads is set, in its own words. */
  heads: string | null;
  /** What the heatmap of layers shows. */
  measure: string | null;
  /** Kind of operator. */
  op: string | null;
  /** Number of a node or leaf within the graph on the screen. */
  node: number | null;
  /** Name of a tensor. */
  tensor: string | null;
  /** The session to compare with. */
  other: string | null;
  /** What the trace table filters by beside the selection, in its own words. */
  filter: string | null;
  /** What the trace table is sorted by, as the server says it: `-duration`. */
  sort: string | null;
  /** The first of the trace table's rows that is on the screen; null is the very first. */
  row: number | null;
  /** How the view of experts is set, in its own words. */
  experts: string | null;
  /** What is compared, in the words of that view. */
  compare: string | null;
  /** What of the timeline is in its window: milliseconds since the session began, or tokens on that axis; null is all. */
  window: Range | null;
  axis: (typeof AXES)[number];
  /** What colours and sizes say in the graph. */
  colour: (typeof COLOURS)[number];
  size: (typeof SIZES)[number];
  /** How deep the whole graph is open. */
  depth: (typeof DEPTHS)[number];
  /** Groups of the whole graph that are not as the depth says, and closed ones in the graph of one layer. */
  toggled: readonly string[];
  closed: readonly string[];
  /** Whether nodes that are not computed are left out of the graph. */
  hidden: boolean;
  /** What the memory map is coloured by. */
  metric: (typeof METRICS)[number];
  /** Windows of the memory map's tracks: bytes along the track; null is all. */
  disk: Range | null;
  buffer: Range | null;
  /** Where in the view of models. */
  model: ModelPlace;
  views: View[];
  /** The panel that fills the window. */
  full: Panel | null;
}

export const AXES = ['time', 'tokens'] as const;
export const COLOURS = ['category', 'time', 'bytes', 'parameters'] as const;
export const SIZES = ['same', 'time', 'bytes', 'parameters'] as const;
export const DEPTHS = ['layers', 'blocks', 'nodes'] as const;
export const METRICS = ['accesses', 'bytes', 'last'] as const;
/** Groups that an address names, at most. */
const MOST_GROUPS = 200;

const NOTHING: Selected = {
  session: null,
  tokens: null,
  context: null,
  layer: null,
  head: null,
  key: null,
  attention: null,
  measure: null,
  heads: null,
  op: null,
  node: null,
  tensor: null,
  other: null,
  filter: null,
  sort: null,
  row: null,
  experts: null,
  compare: null,
  window: null,
  axis: 'time',
  colour: 'category',
  size: 'same',
  depth: 'layers',
  toggled: [],
  closed: [],
  hidden: false,
  metric: 'accesses',
  disk: null,
  buffer: null,
  model: NOWHERE,
  views: ['graph'],
  full: null,
};

/** What a selection is in another recording: its tokens, nodes and places mean nothing there. */
export const ELSEWHERE: Partial<Selected> = {
  session: null,
  other: null,
  tokens: null,
  context: null,
  key: null,
  node: null,
  tensor: null,
  filter: null,
  row: null,
  window: null,
  toggled: [],
  closed: [],
  disk: null,
  buffer: null,
};

function number(text: string | null): number | null {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

function range(text: string | null): Range | null {
  const match = /^(\d{1,15})(?:\.\.(\d{1,15}))?$/.exec(text ?? '');
  if (!match) return null;
  const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
  return first <= last ? [first, last] : null;
}

/** From a place to a later one, with up to six digits after the point. */
function span(text: string | null): Range | null {
  const match = /^(-?\d{1,15}(?:\.\d{1,6})?)\.\.(-?\d{1,15}(?:\.\d{1,6})?)$/.exec(text ?? '');
  if (!match) return null;
  const [from, to] = [Number(match[1]), Number(match[2])];
  return from < to ? [from, to] : null;
}

function one<T extends string>(of: readonly T[], text: string | null): T {
  return of.find((name) => name === text) ?? of[0];
}

function names(text: string | null): string[] {
  return text ? [...new Set(text.split(','))].filter(Boolean).slice(0, MOST_GROUPS) : [];
}

/** Reads an address; what makes no sense is no selection. */
export function parse(search: string): Selected {
  const p = new URLSearchParams(search);
  const views = (p.get('view') ?? '').split(' ').filter((v): v is View => (VIEWS as readonly string[]).includes(v));
  return {
    session: p.get('session'),
    tokens: range(p.get('tokens')),
    context: number(p.get('context')),
    layer: number(p.get('layer')),
    head: number(p.get('head')),
    key: number(p.get('key')),
    attention: p.get('attention'),
    measure: p.get('measure'),
    heads: p.get('heads'),
    op: p.get('op'),
    node: number(p.get('node')),
    tensor: p.get('tensor'),
    other: p.get('with'),
    filter: p.get('filter'),
    sort: p.get('sort'),
    row: number(p.get('row')),
    experts: p.get('experts'),
    compare: p.get('compare'),
    window: span(p.get('window')),
    axis: one(AXES, p.get('axis')),
    colour: one(COLOURS, p.get('colour')),
    size: one(SIZES, p.get('size')),
    depth: one(DEPTHS, p.get('depth')),
    toggled: names(p.get('toggled')),
    closed: names(p.get('closed')),
    hidden: p.get('hide') === 'views',
    metric: one(METRICS, p.get('metric')),
    disk: span(p.get('disk')),
    buffer: span(p.get('buffer')),
    model: parsePlace(p),
    views: views.length ? [...new Set(views)].slice(0, 2) : NOTHING.views,
    full: (['timeline', ...VIEWS] as const).find((name) => name === p.get('full')) ?? null,
  };
}

/** The address of a selection. */
export function format(s: Selected): string {
  const p = new URLSearchParams();
  const put = (name: string, value: string | number | null) => value !== null && p.set(name, String(value));
  put('session', s.session);
  p.set('view', s.views.join(' '));
  put('tokens', s.tokens && rangeText(s.tokens));
  put('context', s.context);
  put('layer', s.layer);
  put('head', s.head);
  put('key', s.key);
  put('attention', s.attention);
  put('measure', s.measure);
  put('heads', s.heads);
  put('op', s.op);
  put('node', s.node);
  put('tensor', s.tensor);
  put('with', s.other);
  put('filter', s.filter);
  put('sort', s.sort);
  put('row', s.row);
  put('experts', s.experts);
  put('compare', s.compare);
  const changed = (name: 'axis' | 'colour' | 'size' | 'depth' | 'metric') =>
    put(name, s[name] === NOTHING[name] ? null : s[name]);
  changed('axis');
  put('window', s.window && s.window.join('..'));
  changed('colour');
  changed('size');
  changed('depth');
  put('toggled', s.toggled.slice(0, MOST_GROUPS).join(',') || null);
  put('closed', s.closed.slice(0, MOST_GROUPS).join(',') || null);
  put('hide', s.hidden ? 'views' : null);
  changed('metric');
  put('disk', s.disk && s.disk.join('..'));
  put('buffer', s.buffer && s.buffer.join('..'));
  formatPlace(s.model, put);
  put('full', s.full);
  return `?${p.toString().replace(/%20/g, '+')}`;
}

/** Browsers let a page replace its address only so often; what drags and playback select gets there a little later. Each
 * time costs the browser as much as a picture: what goes on changing gets there less often, and what changes by itself
 * when somebody turns to the address, or now and then. */
const ADDRESS_MS = 200;
const BUSY_MS = 1000;
const SELDOM_MS = 15_000;
/** So many replacements, one on the heels of the other, are busy. */
const BUSY = 5;

class Selection implements Selected {
  session = $state<string | null>(null);
  tokens = $state.raw<Range | null>(null);
  context = $state<number | null>(null);
  layer = $state<number | null>(null);
  head = $state<number | null>(null);
  key = $state<number | null>(null);
  attention = $state<string | null>(null);
  measure = $state<string | null>(null);
  heads = $state<string | null>(null);
  op = $state<string | null>(null);
  node = $state<number | null>(null);
  tensor = $state<string | null>(null);
  other = $state<string | null>(null);
  filter = $state<string | null>(null);
  sort = $state<string | null>(null);
  row = $state<number | null>(null);
  experts = $state<string | null>(null);
  compare = $state<string | null>(null);
  window = $state.raw<Range | null>(null);
  axis = $state<Selected['axis']>('time');
  colour = $state<Selected['colour']>('category');
  size = $state<Selected['size']>('same');
  depth = $state<Selected['depth']>('layers');
  toggled = $state.raw<readonly string[]>([]);
  closed = $state.raw<readonly string[]>([]);
  hidden = $state(false);
  metric = $state<Selected['metric']>('accesses');
  disk = $state.raw<Range | null>(null);
  buffer = $state.raw<Range | null>(null);
  model = $state.raw<ModelPlace>(NOWHERE);
  views = $state.raw<View[]>(['graph']);
  full = $state<Panel | null>(null);
  private replaced = -ADDRESS_MS;
  private inRow = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private due = 0;

  constructor() {
    if (typeof window === 'undefined') return;
    Object.assign(this, parse(location.search));
    addEventListener('popstate', () => {
      this.forget();
      Object.assign(this, parse(location.search));
    });
    const soon = () => this.timer !== undefined && this.replace();
    for (const leaving of ['pagehide', 'blur']) addEventListener(leaving, soon);
    document.documentElement.addEventListener('pointerleave', soon);
  }

  /** Changes some of it. `keep` replaces the entry in the browser's history: for drags and playback. `seldom` is for what
   * nobody has done. */
  set(change: Partial<Selected>, { keep = false, seldom = false } = {}) {
    // Another session has other times and other memory.
    if (change.session !== undefined && change.session !== this.session)
      change = { window: null, disk: null, buffer: null, row: null, context: null, ...change };
    if (change.views && this.full !== 'timeline' && !change.views.some((view) => view === this.full))
      change = { full: null, ...change };
    if (typeof window === 'undefined') {
      Object.assign(this, change);
      return;
    }
    if (keep) {
      Object.assign(this, change);
      const every = seldom ? SELDOM_MS : this.inRow < BUSY ? ADDRESS_MS : BUSY_MS;
      const wait = this.replaced + every - performance.now();
      if (wait <= 0) return this.replace();
      const due = performance.now() + wait;
      if (this.timer !== undefined && this.due <= due) return;
      clearTimeout(this.timer);
      this.due = due;
      this.timer = setTimeout(() => this.replace(), wait);
      return;
    }
    if (this.timer !== undefined) this.replace();
    Object.assign(this, change);
    const address = this.address();
    if (address !== location.search) history.pushState(null, '', address);
  }

  /** Loads the page again, with some of it changed. */
  load(change: Partial<Selected>) {
    this.forget();
    Object.assign(this, change);
    location.replace(this.address());
  }

  /** Makes the address what the selection is. */
  private replace() {
    this.forget();
    const address = this.address();
    if (address === location.search) return;
    const now = performance.now();
    this.inRow = now - this.replaced < 2 * BUSY_MS ? this.inRow + 1 : 0;
    this.replaced = now;
    history.replaceState(null, '', address);
  }

  /** An effect that selects something does not depend on the rest of the selection. */
  private address(): string {
    return untrack(() => format(this));
  }

  private forget() {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  /** Forgets all but the session and the views. */
  clear() {
    const model = { ...this.model, part: null };
    this.set({ tokens: null, layer: null, head: null, key: null, op: null, node: null, tensor: null, model });
  }

  /** Changes where one is in the view of models. */
  setModel(change: Partial<ModelPlace>, options: { keep?: boolean } = {}) {
    this.set({ model: { ...this.model, ...change } }, options);
  }

  /** `7..9` for the server. */
  get tokensText(): string | null {
    return this.tokens && rangeText(this.tokens);
  }
}

export const selection = new Selection();
