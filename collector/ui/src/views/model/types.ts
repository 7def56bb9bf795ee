// What the server answers about models, as /api/v1/openapi.json describes it.

export interface ModelSummary {
  id: string;
  path: string;
  name: string;
  architecture: string;
  layers: number;
  bytes: number;
  /** Sessions that ran it. */
  sessions: string[];
  error: string | null;
}

export interface Attention {
  kind: 'mha' | 'gqa' | 'mqa' | 'mla';
  heads: number;
  kv_heads: number;
  head_k: number;
  head_v: number;
  /** Tokens that it sees, if not all. */
  window: number | null;
  cache: 'own' | 'none' | { layer: number };
  sinks: boolean;
}

export interface Layer {
  index: number;
  stack: string;
  next_token: boolean;
  attention: Attention | null;
  cross_attention: Attention | null;
  state: string | null;
  feed_forward: {
    size: number;
    gated: boolean;
    experts: { count: number; used: number; size: number; shared_size: number } | null;
  } | null;
}

export interface Architecture {
  name: string;
  known: boolean;
  kind: string;
  hidden: number;
  vocabulary: number;
  context: number;
  layers: Layer[];
  loops: number;
  latent: [number, number] | null;
  window_kind: string | null;
  rope: {
    dimensions: number;
    style: string;
    base: number;
    base_window: number | null;
    scaling: string;
    factor: number | null;
    original_context: number | null;
    sections: number[];
  } | null;
  norms: string[];
  layer_norms: string[];
  tied_embeddings: boolean;
  causal: boolean;
  pooling: string | null;
}

export interface ComponentParameters {
  component: string;
  total: number;
  active: number;
}

export interface Parameters {
  total: number;
  active: number;
  by_component: ComponentParameters[];
  by_layer: {
    stack: string;
    layer: number;
    total: number;
    active: number;
    by_component: ComponentParameters[];
  }[];
  textbook: {
    parameters: number;
    difference: number;
    reasons: { what: string; parameters: number }[];
  } | null;
}

export interface Memory {
  weights: {
    bytes: number;
    parameters: number;
    bits_per_weight: number;
    loaded_bytes: number;
    mapped_bytes: number;
    by_component: { component: string; tensors: number; parameters: number; bytes: number }[];
    by_type: { type: string; tensors: number; parameters: number; bytes: number }[];
    by_layer: number[];
  };
  as_types: {
    type: string;
    bits_per_weight: number;
    bytes: number;
    kept: number;
    fallbacks: { type: string; tensors: number }[];
    needs_imatrix: boolean;
  }[];
  contexts: number[];
  cache_types: { type: string; bytes: number[] | null }[];
  context: number;
  sequences: number;
  cache_type: [string, string];
  caches: {
    bytes: number;
    parts: { what: string; layers: number; cells: number; k_bytes: number; v_bytes: number }[];
    inexact: string | null;
  } | null;
  cache_error: string | null;
  /** Of what llama.cpp refuses, neither is known. */
  compute_bytes: number | null;
  total_bytes: number | null;
  offload: {
    vram_bytes: number;
    layers: number;
    of: number;
    bytes: number;
    longest_context: number | null;
  } | null;
}

export interface Work {
  tokens: number;
  flops: number;
  bytes: number;
  intensity: number;
  parts: { what: string; flops: number; bytes: number }[];
}

export interface Role {
  component: string;
  stack: string;
  layer: number | null;
  part: string;
  kind: string;
  expert: number | null;
}

export interface FileTensor {
  name: string;
  shape: number[];
  type: string;
  file: number;
  offset: number;
  bytes: number | null;
  elements: number | null;
  role: Role;
}

export interface Finding {
  severity: 'notice' | 'refused' | 'damaged';
  /** The file, where a model has several. */
  file?: string;
  /** Offset in the file in bytes. */
  at: number;
  what: string;
}

/** What is in a file that is no model. */
export interface Contents {
  kind: string;
  general_type: string | null;
  facts: { name: string; value: string }[];
}

export interface Inspection {
  name: string;
  contents: Contents | null;
  size_label: string | null;
  files: {
    paths: string[];
    bytes: number;
    version: number;
    header_bytes: number;
    alignment: number;
    keys: number;
    tensors: number;
  };
  valid: boolean;
  architecture: Architecture;
  tokenizer: {
    model: string;
    pre: string | null;
    tokens: number;
    merges: number;
    sorts: { name: string; tokens: number }[];
    special: { name: string; id: number; text: string | null }[];
    add_bos: boolean | null;
    add_eos: boolean | null;
    chat_template_bytes: number | null;
  } | null;
  parameters: Parameters;
  memory: Memory;
  costs: { generate: Work[]; prompt: Work[] };
  metadata: { key: string; type: string; offset: number; value: unknown; count?: number }[];
  tensors: FileTensor[];
  findings: Finding[];
}

/** What a run did with the weights of a node. */
export interface Measured {
  accesses: number;
  read_bytes: number;
  ns: number | null;
  last_token: number | null;
  /** Whether the tensors are this node's alone; the numbers are of all that share them together otherwise. */
  alone: boolean;
}

export interface ArchNode {
  id: string;
  kind: string;
  label: string;
  stack: string;
  layer: number | null;
  index: number | null;
  parameters: number;
  bytes: number;
  tensors: { tensor: string; parameters: number; bytes: number; whole: boolean }[];
  measured?: Measured;
}

export interface ArchEdge {
  /** Places among the nodes. */
  from: number;
  to: number;
  kind: 'contains' | 'feeds_into' | 'uses';
  residual: boolean;
}

export interface ArchGraph {
  schema: 'standard' | 'tutorial';
  nodes: ArchNode[];
  edges: ArchEdge[];
}

export interface GraphReport {
  nodes: { id: string; label: string; kind: string; layer: number | null }[];
  edges: number;
  weight: string | null;
  pagerank: number[];
  pagerank_iterations: number;
  betweenness: number[];
  betweenness_sources: number;
  in_degree: number[];
  out_degree: number[];
  degrees: [number, number][];
  core: number[];
  community: number[];
  communities: number[];
  modularity: number;
  weak_components: number[];
  strong_components: number;
  way: { nodes: number[]; length: number } | null;
  top_pagerank: { node: number; score: number }[];
  top_betweenness: { node: number; score: number }[];
  top_degree: { node: number; score: number }[];
  took: { measure: string; ms: number; on: string }[];
}

export interface TypeShare {
  type: string;
  tensors: number;
  elements: number;
  bytes: number;
}

export interface Share {
  tensors: number;
  elements: number;
  bytes: number;
  bits_per_weight: number | null;
  types: TypeShare[];
}

export interface TensorMix {
  name: string;
  role: Role;
  ne: number[];
  type: string;
  elements: number;
  bytes: number | null;
  bits_per_weight: number | null;
  offset: number;
}

export interface Mix {
  file: string;
  total: Share;
  parts: (Share & { component: string })[];
  layers: (Share & { stack: string; layer: number | null })[];
  tensors: TensorMix[];
}

export interface Distribution {
  count: number;
  zeros: number;
  nan: number;
  infinite: number;
  min: number | null;
  max: number | null;
  mean: number | null;
  rms: number | null;
  std: number | null;
  quantiles: { p: number; value: number }[];
  histogram: { from: number; to: number; counts: number[] } | null;
}

export interface Levels {
  used: number;
  entropy_bits: number;
  counts: { level: number; count: number }[];
}

export interface Scheme {
  elements: number;
  bytes: number;
  sub_blocks: number;
  formula: string;
}

export interface TensorReport {
  tensor: TensorMix;
  file: string;
  values: Distribution;
  blocks: {
    count: number;
    without_scale: number;
    scheme: Scheme;
    d: Distribution | null;
    dmin: Distribution | null;
    scale_codes: Levels | null;
    min_codes: Levels | null;
    scales: Distribution;
    mins: Distribution | null;
    quants: Levels;
  } | null;
}

export interface SubBlock {
  scale_code: number | null;
  min_code: number | null;
  scale: number;
  min: number | null;
  quants: number[];
}

export interface Block {
  tensor: string;
  type: string;
  index: number;
  of: number;
  at: [number, number, number, number];
  file: string;
  offset: number;
  bytes: string;
  scheme: Scheme;
  d: number | null;
  dmin: number | null;
  sub_blocks: SubBlock[];
  grid?: { index: number; signs: number | null; shift: number | null }[];
  values: number[] | null;
}

export interface WeightCost {
  name: string;
  accesses: number;
  read_bytes: number;
  ns: number | null;
  last_token: number | null;
  experts?: { id: number; accesses: number; read_bytes: number }[];
}

/** What one kind of operator reached in one phase of a run. */
export interface Reached {
  op: string;
  /** Null if it is not known what the tokens are part of. */
  phase: 'PROMPT' | 'GENERATE' | null;
  count: number;
  ns: number;
  bytes: number;
  flops: number;
}
