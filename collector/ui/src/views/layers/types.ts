// What the server says of hidden states, as far as the view shows it.

/** What adds to the residual stream: a block, or something from outside of the model's blocks. */
export type Part = 'attention' | 'feed_forward' | 'state' | 'adapter' | 'control_vector' | 'input' | 'earlier';

export interface TokenMatrix {
  measure: string;
  /** Layers; null is what goes into the first. */
  layers: (number | null)[];
  rows: { token: number; text: string | null; values: (number | null)[] }[];
}

interface Massive {
  at: number | null;
  tokens: number;
  largest: number;
  token: number;
}

export interface LayerOfRun {
  layer: number | null;
  tensor: string;
  tokens: number;
  norm: { min: number; median: number; max: number } | null;
  largest: Massive | null;
  outliers: number | null;
  massive: Massive[];
  massive_count: number | null;
  nan: number;
  inf: number;
  cosine: number | null;
  /** The stack of an encoder-decoder model. */
  stack?: 'encoder' | 'decoder';
  /** `matrix` is what a block ends with, or what an adapter is added to. */
  added: { part: Part; matrix?: string; share: number | null; cosine: number | null }[];
  normed: { tensor: string; rms_in: number | null; rms_out: number | null; cosine: number | null }[];
  units: { units: number; dead: number; always_open: number | null; always_closed: number | null } | null;
}

export interface LayersOfRun {
  n_embd: number;
  tokens: number;
  /** Tokens of which a hidden state was captured. */
  with_states: number;
  layers: LayerOfRun[];
  missing: string[];
  /** Layers that were captured, if others were left out. */
  captured_layers: string | null;
  lost: { what: string; times: number }[];
}

export interface Candidate {
  id: number;
  text: string | null;
  logit: number;
  p: number;
}

export interface Lens {
  token: number;
  text: string | null;
  /** Null if no logit is finite at the end. */
  answer: Candidate | null;
  complete: boolean;
  incomplete: 'not_computed' | 'not_captured' | 'lost' | null;
  next: Candidate | null;
  /** Places among the rows; null without an answer. */
  first_on_top: number | null;
  settled: number | null;
  rows: {
    layer: number | null;
    top: Candidate[];
    entropy: number | null;
    answer: { p: number; rank: number } | null;
    nan: number;
  }[];
  check: { same_top: boolean; largest_difference: number; relative_error: number } | null;
  /** The device: `cpu (why)`, or a GPU. */
  computed: string;
}

export interface LayerError {
  layer: number | null;
  tokens: number;
  error: { min: number; median: number; max: number } | null;
  cosine: number | null;
  /** Elements that are NaN or infinite in one of both. */
  not_finite: number;
  worst: number | null;
}

/** Hidden states beside those of a reference. */
export interface Against {
  reference: string;
  tokens: number;
  diverges: { token: number; text: string | null; reference: string | null } | null;
  layers: LayerError[];
  steepest: number | null;
  by_token: { token: number; id: number; text: string | null; errors: (number | null)[] }[];
}
