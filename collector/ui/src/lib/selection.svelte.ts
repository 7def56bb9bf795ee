// The one selection that all views share. It lives in the address, so that a link reproduces what is on the screen.

export const VIEWS = ['graph', 'memory', 'table', 'analytics', 'compare', 'info'] as const;
export type View = (typeof VIEWS)[number];

/** Numbers from the first to the last, both included. */
export type Range = [number, number];

/** What is selected; null is nothing, and no filter. */
export interface Selected {
  session: string | null;
  tokens: Range | null;
  layer: number | null;
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
  /** What is compared, in the words of that view. */
  compare: string | null;
  views: View[];
}

const NOTHING: Selected = {
  session: null,
  tokens: null,
  layer: null,
  op: null,
  node: null,
  tensor: null,
  other: null,
  filter: null,
  sort: null,
  compare: null,
  views: ['graph'],
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

/** Reads an address; what makes no sense is no selection. */
export function parse(search: string): Selected {
  const p = new URLSearchParams(search);
  const views = (p.get('view') ?? '').split(' ').filter((v): v is View => (VIEWS as readonly string[]).includes(v));
  return {
    session: p.get('session'),
    tokens: range(p.get('tokens')),
    layer: number(p.get('layer')),
    op: p.get('op'),
    node: number(p.get('node')),
    tensor: p.get('tensor'),
    other: p.get('with'),
    filter: p.get('filter'),
    sort: p.get('sort'),
    compare: p.get('compare'),
    views: views.length ? [...new Set(views)].slice(0, 2) : NOTHING.views,
  };
}

/** The address of a selection. */
export function format(s: Selected): string {
  const p = new URLSearchParams();
  const put = (name: string, value: string | number | null) => value !== null && p.set(name, String(value));
  put('session', s.session);
  p.set('view', s.views.join(' '));
  put('tokens', s.tokens && rangeText(s.tokens));
  put('layer', s.layer);
  put('op', s.op);
  put('node', s.node);
  put('tensor', s.tensor);
  put('with', s.other);
  put('filter', s.filter);
  put('sort', s.sort);
  put('compare', s.compare);
  return `?${p.toString().replace(/%20/g, '+')}`;
}

/** `7`, or `7..9`. */
export function rangeText([first, last]: Range): string {
  return first === last ? String(first) : `${first}..${last}`;
}

class Selection implements Selected {
  session = $state<string | null>(null);
  tokens = $state.raw<Range | null>(null);
  layer = $state<number | null>(null);
  op = $state<string | null>(null);
  node = $state<number | null>(null);
  tensor = $state<string | null>(null);
  other = $state<string | null>(null);
  filter = $state<string | null>(null);
  sort = $state<string | null>(null);
  compare = $state<string | null>(null);
  views = $state.raw<View[]>(['graph']);

  constructor() {
    if (typeof window === 'undefined') return;
    Object.assign(this, parse(location.search));
    addEventListener('popstate', () => Object.assign(this, parse(location.search)));
  }

  /** Changes some of it. `keep` replaces the entry in the browser's history: for drags and playback. */
  set(change: Partial<Selected>, { keep = false } = {}) {
    Object.assign(this, change);
    const address = format(this);
    if (typeof window === 'undefined' || address === location.search) return;
    if (keep) history.replaceState(null, '', address);
    else history.pushState(null, '', address);
  }

  /** Forgets all but the session and the views. */
  clear() {
    this.set({ tokens: null, layer: null, op: null, node: null, tensor: null });
  }

  /** `7..9` for the server. */
  get tokensText(): string | null {
    return this.tokens && rangeText(this.tokens);
  }
}

export const selection = new Selection();
