// What the server answers about attention, as /api/v1/openapi.json describes it. A number that is null is NaN.

export interface AttentionKey {
  cell: number;
  token: number | null;
  pos: number | null;
  text: string | null;
}

export interface HeadRow {
  head: number;
  kv_head: number;
  products: (number | null)[];
  scaled: (number | null)[];
  masked: (number | null)[];
  weights: (number | null)[];
  sink: number | null;
  /** Σ weights · V, where values were captured. */
  weighted?: (number | null)[];
  /** How long what the head adds to the residual stream is. */
  contribution?: number | null;
  /** Its query, if vectors were asked for. */
  query?: (number | null)[];
}

/** What a head of the keys holds, for each key. */
interface Vectors {
  keys: (number | null)[][][];
  values?: (number | null)[][][];
}

/** One token in one layer, in all stages. */
export interface Attention {
  token: number;
  text: string | null;
  eval: number;
  layer: number;
  node: number;
  op: string;
  n_head: number;
  n_head_kv: number;
  n_embd_head: number;
  k_type: string;
  keys: AttentionKey[];
  heads: HeadRow[];
  /** Why there are no weighted values. */
  no_values?: string;
  /** Why it is not said how much the head adds. */
  no_contribution?: string;
  /** So many elements of values and of what is weighed of them are turned together, as the cache has them. */
  turned?: number;
  vectors?: Vectors;
}

export interface MatrixKey {
  token: number | null;
  cell: number | null;
  pos: number | null;
  text: string | null;
}

export interface MatrixRow {
  token: number;
  eval: number;
  pos: number | null;
  text: string | null;
  spans: { first: number; n: number }[];
}

/** Rows that could not be computed. */
export interface Refused {
  layer: number;
  /** For how many tokens. */
  tokens: number;
  why: string;
}

/** Tokens × keys of one layer. */
export interface AttentionMatrix {
  layer: number;
  n_head: number;
  n_head_kv: number;
  keys: MatrixKey[];
  rows: MatrixRow[];
  heads: { head: number; kv_head: number; weights: (number | null)[][]; sinks: (number | null)[] }[];
  refused: Refused[];
}

export interface HeadSummary {
  head: number;
  entropy: number | null;
  first: number | null;
  previous: number | null;
  self: number | null;
  heaviest: { cell: number; token: number | null; text: string | null; weight: number } | null;
  sink: number | null;
}

export interface LayerSummary {
  layer: number;
  keys: number;
  n_head_kv: number;
  heads: HeadSummary[];
}

/** All layers × heads at one token. */
export interface AttentionMap {
  token: number;
  text: string | null;
  layers: LayerSummary[];
  refused: Refused[];
}
