// What the server answers about heads, as /api/v1/openapi.json describes it. A measure that is null is not known.

export type KindName = 'induction' | 'previous-token' | 'sink' | 'local' | 'global' | 'mixed';

export interface Measures {
  entropy: number | null;
  entropy_normalized: number | null;
  distance: number | null;
  first: number | null;
  previous: number | null;
  self: number | null;
  induction: number | null;
  duplicate: number | null;
  punctuation: number | null;
  sink: number | null;
}

export interface Near {
  layer: number;
  head: number;
  divergence: number;
}

export interface Head extends Measures {
  layer: number;
  head: number;
  rows: number;
  not_finite: number;
  induction_rows: number;
  kind: { name: KindName; measure: string; value: number; threshold: number } | null;
  cluster: number | null;
  pagerank: number | null;
  pagerank_in_layer: number | null;
  nearest: Near | null;
  twin: Near | null;
}

export interface Heads {
  first_token: number;
  last_token: number;
  tokens: number;
  rows: number;
  short_rows: number;
  /** Rows that the limits of the capture left out. */
  uncaptured_rows: number;
  min_keys: number;
  ids: boolean;
  texts: boolean;
  refused: { layer: number; why: string; rows: number }[];
  uniform: (Measures & { layer: number; n_head: number })[];
  heads: Head[];
  kinds: { name: KindName; heads: number }[];
  divergence: { tokens: number; of_tokens: number; pairs?: (number | null)[] };
  clusters: {
    silhouette: number;
    clusters: { heads: number; medoid: { layer: number; head: number }; silhouette: number }[];
    tried: { clusters: number; silhouette: number }[];
  } | null;
  twins: { layer: number; heads: [number, number]; divergence: number }[];
  ranked: { tokens: number; refused: string | null };
}
