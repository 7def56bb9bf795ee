// What the server answers under /api/v1, as /api/v1/openapi.json describes it.

/** What a token is part of; where it is null in an answer, that is unknown. */
export type Phase = 'PROMPT' | 'GENERATE';
export type Memory = 'DISK' | 'BUFFER';

export interface Page<T> {
  total: number;
  offset: number;
  next: number | null;
  items: T[];
}

export interface SessionSummary {
  id: string;
  name: string;
  state: 'live' | 'ended' | 'cut';
  complete: boolean;
  /** How the session ended; null if it goes on, or if the trace does not say. */
  ending: Ending | null;
  pid: number;
  argv: string[];
  exe: string;
  model: string | null;
  n_layer: number | null;
  level: string;
  /** Sets and globs that were captured at any time; absent if the server does not say. */
  captured?: string[];
  /** Whether this collector records it, and it goes on. */
  recorded_here?: boolean;
  tokens: number;
  prompt_tokens: number;
  generated_tokens: number;
  /** Those of unknown phase. */
  unknown_tokens: number;
  evaluations: number;
  operators: number;
  first_ns: number;
  last_ns: number;
  dropped_records: number;
  started_ns: number;
  /** The first thing that was found wrong with the trace besides a missing end. */
  damage: string | null;
}

/** How a session ended. */
export interface Ending {
  how: 'exited' | 'killed' | 'gone' | 'left' | 'let_go' | 'cut';
  code?: number;
  signal?: string;
  /** Whether somebody would want to know of it. */
  unexpected: boolean;
  /** All of it as a sentence. */
  text: string;
}

export interface Token {
  number: number;
  id: number | null;
  text: string | null;
  /** The bytes of a text that is no UTF-8 by itself, in hexadecimal. */
  text_bytes?: string | null;
  phase: Phase | null;
}

export interface EvaluationSummary {
  seq: number;
  eval: number;
  graph: number;
  context: number;
  thread: number;
  status: number;
  t_ns: number;
  dur_ns: number;
  minor_faults: number;
  major_faults: number;
  tokens: Token[];
  operators: number;
  disk_bytes: number;
  buffer_bytes: number;
  ops: { op: string; count: number; ns: number }[];
}

/** One evaluation of a live event; `start_ns` counts from the session's first evaluation. */
export interface LiveEvaluation {
  seq: number;
  eval: number;
  graph: number;
  context: number;
  start_ns: number;
  dur_ns: number;
  first_token: number;
  n_tokens: number;
  n_generated: number;
  /** Those of unknown phase. */
  n_unknown: number;
  operators: number;
  /** Those of them that have no time. */
  untimed: number;
  disk_bytes: number;
  buffer_bytes: number;
  minor_faults: number;
  major_faults: number;
  status: number;
  tokens: Token[];
}

export interface LiveEvaluations {
  session: string;
  from: number;
  total: number;
  items: LiveEvaluation[];
}

/** The operators of one evaluation, in the order of execution; nanoseconds from its begin. */
export interface Spans {
  eval: number;
  seq: number;
  graph: number;
  t_ns: number;
  dur_ns: number;
  node: number[];
  start: number[];
  dur: (number | null)[];
  fused_into: (number | null)[];
}

export interface Place {
  memory: Memory | null;
  file?: string;
  offset?: number;
  buffer?: string;
  addr?: number;
}

export type Category = 'layer' | 'infrastructure' | 'input' | 'output';

export interface GraphTensor extends Place {
  id: number;
  leaf: boolean;
  name: string;
  op: string;
  type: string;
  ne: [number, number, number, number];
  bytes: number;
  layer: number | null;
  node_type: string;
  category?: Category;
  meaning?: string;
  computed: boolean;
}

export interface GraphEdge {
  from: number;
  to: number;
  src: number;
  cross_layer: boolean;
}

export interface GraphPart {
  graph: number;
  context: number;
  layer: number | null;
  layers: number[];
  tensors: GraphTensor[];
  edges: GraphEdge[];
}

export interface GraphSummary {
  graph: number;
  context: number;
  n_nodes: number;
  n_computed: number;
  n_leaves: number;
  layers: number[];
  evaluations: number;
  last_seq: number | null;
}

/** Sums per executed node, over the evaluations that were asked for. */
export interface GraphCosts {
  node: number[];
  count: number[];
  ns: number[];
  bytes: number[];
}

export interface Source extends Place {
  name: string;
  type: string;
  ne: [number, number, number, number];
  bytes: number;
  /** What of it the operator read: rows, or the experts that were chosen; absent if the server does not know. */
  read_bytes?: number;
  layer: number | null;
  experts?: { expert: number; offset?: number; bytes: number }[];
}

export interface Operator {
  seq: number;
  eval: number;
  token: number | null;
  token_id?: number;
  pos?: number;
  token_text?: string;
  n_tokens: number;
  phase: Phase | null;
  node: number;
  op: string;
  name: string;
  layer: number | null;
  node_type: string;
  context: number;
  thread: number;
  device?: string;
  t_ns: number;
  dur_ns: number | null;
  fused_into?: number;
  /** The run that computed it, if it has no time of its own. */
  run?: { number: number; t_ns: number; dur_ns: number };
  dst: {
    type: string;
    ne: [number, number, number, number];
    bytes: number;
    buffer: string | null;
    addr: number;
  };
  src: Source[];
  /** What it read of all its sources. */
  read_bytes?: number;
  experts?: number[];
}

export interface Region {
  memory: Memory;
  place: string;
  start: number;
  bytes: number;
  name: string;
  layer: number | null;
  expert: number | null;
  accesses: number;
  read_bytes: number;
  last_eval: number;
  last_token: number | null;
}

export interface PlaceSummary {
  memory: Memory;
  place: string;
  start: number;
  end: number;
  regions: number;
  read_bytes: number;
  accesses: number;
}

export interface Residency {
  place: string;
  page_bytes: number;
  pages: number;
  resident: [number, number][];
}

export interface Leaf {
  name: string;
  type: string;
  context?: number;
  contexts?: number[];
  ne: [number, number, number, number];
  bytes: number;
  meaning: string;
  memory: Memory;
  file?: string;
  offset?: number;
  buffer?: string;
  used_by: { op: string; layers: number[]; operators: number }[];
  accesses: number;
}

export interface OpSum {
  context: number;
  op: string;
  phase: Phase;
  count: number;
  ns: number;
  bytes: number;
}

export interface LayerSum {
  context: number;
  layer: number | null;
  operators: number;
  ns: number;
  read_bytes: number;
  weight_bytes: number;
  hottest: { name: string; accesses: number; bytes: number; ns: number }[];
}

export interface LayerTokens {
  layers: (number | null)[];
  bins: { first_token: number; last_token: number; evaluations: number }[];
  ns: number[][];
}

export interface Histogram {
  count: number;
  min: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
  mean: number;
  bins: { from: number; to: number; count: number }[];
}

export interface AccessPattern {
  eval: number;
  place: string;
  reads: { t_ns: number; offset: number; bytes: number; name: string; node: number }[];
  sequential: number;
  span_bytes: number;
}

/** All of one of two sessions that are compared. */
export interface ComparedSession {
  trace: string;
  context: number | null;
  other_contexts?: number[];
  tokens: number;
  evaluations: number;
  /** Time of the evaluations, and the part of it that is operators' own. */
  ns: number;
  operator_ns: number;
  ns_per_token: number | null;
}

/** Times are null where nothing was timed. */
export interface ComparedSide {
  count: number;
  ns: number | null;
  ns_per_token: number | null;
  bytes: number;
}

export interface ComparedRow {
  key: string;
  name?: string;
  op?: string;
  layer?: number;
  a: ComparedSide | null;
  b: ComparedSide | null;
  difference_ns_per_token: number | null;
  ratio: number | null;
}

export interface Comparison {
  by: 'op' | 'layer' | 'tensor';
  phase: Phase | null;
  a: ComparedSession;
  b: ComparedSession;
  rows: ComparedRow[];
  unmatched_a: string[];
  unmatched_b: string[];
}

/** A context of a session: one of `contexts` of `/sessions/{id}`. */
export interface ContextOfSession {
  context: number;
  model: number | null;
  model_name: string | null;
  evaluations: number;
  tokens: number;
  first_token: number | null;
  last_token: number | null;
  compute_ns: number;
}
