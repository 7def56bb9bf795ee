// Where one is in the view of models: which model, which tab, and what each tab is set to. It lives in the address with
// the rest of the selection; layer and tensor are the selection's own.

export const TABS = ['overview', 'graph', 'cost', 'quant', 'ranks', 'models'] as const;
export type Tab = (typeof TABS)[number];

export const SCHEMAS = ['standard', 'tutorial'] as const;
export type Schema = (typeof SCHEMAS)[number];

/** What colours say in the graph of a model. */
export const PAINTS = [
  'kind',
  'parameters',
  'bits',
  'community',
  'pagerank',
  'betweenness',
  'time',
  'accesses',
] as const;
export type PaintBy = (typeof PAINTS)[number];

export const SCALES = ['parameters', 'bytes', 'time', 'same'] as const;
export type ScaleBy = (typeof SCALES)[number];

export const EDGES = ['contains', 'feeds_into', 'uses'] as const;
export type EdgeKind = (typeof EDGES)[number];

export const WEIGHTS = ['none', 'parameters', 'bytes', 'time'] as const;
export type WeightBy = (typeof WEIGHTS)[number];

/** What memory is planned for; null is as the server says. */
export interface Plan {
  ctx: number | null;
  parallel: number | null;
  k: string | null;
  v: string | null;
  /** Bytes to fit into. */
  vram: number | null;
}

export interface ModelPlace {
  /** Number of the model. */
  model: string | null;
  tab: Tab;
  schema: Schema;
  paint: PaintBy;
  scale: ScaleBy;
  /** Groups that are open. */
  open: readonly string[];
  /** Id of the selected node of the architecture. */
  part: string | null;
  /** Which block of the selected tensor is written out. */
  block: number | null;
  plan: Plan;
  /** What the machine can do, for the roofline: bytes and operations a second; null is not said. */
  machine: { bandwidth: number | null; flops: number | null };
  edges: readonly EdgeKind[];
  weight: WeightBy;
  /** Whether analytics are of the computation graph of the run. */
  computed: boolean;
}

/** Groups that an address names, at most. */
const MOST_GROUPS = 120;

export const NOWHERE: ModelPlace = {
  model: null,
  tab: 'overview',
  schema: 'standard',
  paint: 'kind',
  scale: 'parameters',
  open: [],
  part: null,
  block: null,
  plan: { ctx: null, parallel: null, k: null, v: null, vram: null },
  machine: { bandwidth: null, flops: null },
  edges: EDGES,
  weight: 'none',
  computed: false,
};

function number(text: string | null): number | null {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

function amount(text: string | null): number | null {
  const value = text !== null && /^\d{1,12}(\.\d{1,6})?$/.test(text) ? Number(text) : 0;
  return value > 0 ? value : null;
}

function one<T extends string>(of: readonly T[], text: string | null): T {
  return of.find((name) => name === text) ?? of[0];
}

/** Reads its part of an address; what makes no sense is as if it were not there. */
export function parsePlace(p: URLSearchParams): ModelPlace {
  const given = (p.get('edges') ?? '').split(',');
  const edges = EDGES.filter((kind) => given.includes(kind));
  return {
    model: p.get('model'),
    tab: one(TABS, p.get('tab')),
    schema: one(SCHEMAS, p.get('schema')),
    paint: one(PAINTS, p.get('paint')),
    scale: one(SCALES, p.get('scale')),
    open: [...new Set((p.get('open') ?? '').split(','))].filter(Boolean).slice(0, MOST_GROUPS),
    part: p.get('part'),
    block: number(p.get('block')),
    plan: {
      ctx: number(p.get('ctx')),
      parallel: number(p.get('parallel')),
      k: p.get('cache_k'),
      v: p.get('cache_v'),
      vram: number(p.get('vram')),
    },
    machine: { bandwidth: amount(p.get('bandwidth')), flops: amount(p.get('flops')) },
    edges: edges.length ? edges : EDGES,
    weight: one(WEIGHTS, p.get('weight')),
    computed: p.get('of') === 'computation',
  };
}

/** Writes it; what is as it always is has no part in the address. */
export function formatPlace(place: ModelPlace, put: (name: string, value: string | number | null) => void) {
  const changed = (name: 'tab' | 'schema' | 'paint' | 'scale' | 'weight') =>
    put(name, place[name] === NOWHERE[name] ? null : place[name]);
  put('model', place.model);
  changed('tab');
  changed('schema');
  changed('paint');
  changed('scale');
  put('open', place.open.slice(0, MOST_GROUPS).join(',') || null);
  put('part', place.part);
  put('block', place.block);
  put('ctx', place.plan.ctx);
  put('parallel', place.plan.parallel);
  put('cache_k', place.plan.k);
  put('cache_v', place.plan.v);
  put('vram', place.plan.vram);
  put('bandwidth', place.machine.bandwidth);
  put('flops', place.machine.flops);
  put('edges', place.edges.length === EDGES.length ? null : place.edges.join(','));
  changed('weight');
  put('of', place.computed ? 'computation' : null);
}
