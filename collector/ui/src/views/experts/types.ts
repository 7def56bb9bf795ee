// What the server answers about experts: see `ggscope experts --json` and docs/experts.md.
import type { Phase } from '../../lib/types';

/** How many tokens went to each expert of a layer, and how evenly. */
export interface Load {
  tokens: number;
  load: number[];
  weight: (number | null)[] | null;
  used: number;
  entropy: number;
  balance: number;
  effective: number;
  peak: number;
  hot: number[];
  cold: number[];
  unused: number[];
}

export interface Pair {
  a: number;
  b: number;
  count: number;
  lift: number;
}

export interface LayerExperts {
  layer: number;
  experts: number;
  per_token: number;
  expert_bytes: number;
  all: Load;
  prompt: Load;
  generate: Load;
  divergence: number | null;
  heaviest: number | null;
  together: Pair[];
  from_layer: { layer: number; top: Pair[] } | null;
  from_token: { tokens: number; kept: number | null; by_chance: number | null; top: Pair[] };
}

export interface CacheSize {
  per_layer: number;
  experts: number;
  bytes: number;
  lru: number;
  best: number;
  layer_lru: number;
  layer_best: number;
}

export interface ExpertReport {
  evaluations: number;
  without_choice: number;
  prompt_tokens: number;
  generated_tokens: number;
  /** The newest of these tokens. */
  last_token: number | null;
  weights: { tensor: string; final: boolean } | null;
  /** Without weights: whether statistics were recorded in their place. */
  only_statistics: boolean;
  bytes: {
    all: number;
    used: number;
    prompt: number;
    generate: number;
    read: number;
    file: number | null;
    needed: number | null;
  };
  layers: LayerExperts[];
  caches: { accesses: number; left_out: number; distinct: number; sizes: CacheSize[] } | null;
}

export interface TokenChoice {
  eval: number;
  token: number;
  token_id: number | null;
  token_text: string | null;
  pos: number | null;
  phase: Phase | null;
  layer: number;
  experts: number[];
  weights: number[] | null;
}

export interface ExpertChoices {
  choices: TokenChoice[];
  left_out: number;
}

export interface ExpertPairs {
  layer: number;
  together: number[][];
  before: number | null;
  from_layer: number[][];
  from_token: number[][];
}
