// Where the views of models get their answers: from the server, or out of the file that they are in. Components know only
// this.
import { getContext, setContext } from 'svelte';
import type { Page } from '../../lib/types';
import type { EdgeKind, Plan, Schema, WeightBy } from './place';
import type {
  ArchGraph,
  Block,
  GraphReport,
  Inspection,
  Mix,
  ModelSummary,
  Reached,
  TensorReport,
  WeightCost,
} from './types';

/** What is analysed of an architecture. */
export interface Analysed {
  schema: Schema;
  edges: readonly EdgeKind[];
  weight: WeightBy;
  session: string | null;
}

/** What a source can answer: a file knows only what was put into it. */
export interface Offers {
  /** Memory for another context, number of sequences, cache type. */
  plans: boolean;
  schemas: readonly Schema[];
  weights: readonly WeightBy[];
  /** Edges other than all. */
  edges: boolean;
  /** The computation graph of a run. */
  computed: boolean;
  /** What is missing, in words. */
  note: string | null;
}

export interface ModelSource {
  offers: Offers;
  models(signal: AbortSignal): Promise<ModelSummary[]>;
  inspect(model: string, plan: Plan, signal: AbortSignal): Promise<Inspection>;
  graph(model: string, schema: Schema, session: string | null, signal: AbortSignal): Promise<ArchGraph>;
  analytics(model: string, what: Analysed, signal: AbortSignal): Promise<GraphReport>;
  /** Analytics of a computation graph of a session. */
  computed(session: string, graph: number, weight: WeightBy, signal: AbortSignal): Promise<GraphReport>;
  mix(model: string, signal: AbortSignal): Promise<Mix>;
  tensor(model: string, name: string, signal: AbortSignal): Promise<TensorReport>;
  blocks(model: string, name: string, offset: number, limit: number, signal: AbortSignal): Promise<Page<Block>>;
  /** Numbers of the blocks that can be asked for; null is all. */
  known(name: string): readonly number[] | null;
  weights(session: string, model: string, signal: AbortSignal): Promise<WeightCost[]>;
  reached(session: string, model: string, signal: AbortSignal): Promise<Reached[]>;
}

const KEY = Symbol('models');

export function provide(source: ModelSource): ModelSource {
  return setContext(KEY, source);
}

export function source(): ModelSource {
  return getContext(KEY);
}
