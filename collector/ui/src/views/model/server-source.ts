// Models as the server knows them.
import { get } from '../../lib/api';
import { SCHEMAS, WEIGHTS } from './place';
import type { ModelSource } from './source';

const at = (model: string) => `/models/${encodeURIComponent(model)}`;
const of = (session: string) => `/sessions/${encodeURIComponent(session)}`;

export const serverSource: ModelSource = {
  offers: { plans: true, schemas: SCHEMAS, weights: WEIGHTS, edges: true, computed: true, note: null },
  models: (signal) => get('/models', {}, signal),
  inspect: (model, { ctx, parallel, k, v, vram }, signal) =>
    get(at(model), { ctx, parallel, cache_type_k: k, cache_type_v: v, vram }, signal),
  graph: (model, schema, session, signal) => get(`${at(model)}/graph`, { schema, session }, signal),
  analytics: (model, { schema, edges, weight, session }, signal) =>
    get(`${at(model)}/analytics`, { schema, edges: edges.join(','), weight, session }, signal),
  computed: (session, graph, weight, signal) =>
    get(`${of(session)}/graphs/${graph}/analytics`, { weight: weight === 'parameters' ? 'none' : weight }, signal),
  mix: (model, signal) => get(`${at(model)}/quant`, {}, signal),
  tensor: (model, tensor, signal) => get(`${at(model)}/tensor`, { tensor }, signal),
  blocks: (model, tensor, offset, limit, signal) => get(`${at(model)}/blocks`, { tensor, offset, limit }, signal),
  known: () => null,
  weights: (session, model, signal) => get(`${of(session)}/weights`, { of: model }, signal),
  reached: (session, model, signal) => get(`${of(session)}/reached`, { of: model }, signal),
};
