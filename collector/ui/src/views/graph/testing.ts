// Small graphs for tests.
import type { GraphEdge, GraphPart, GraphTensor } from '../../lib/types';

export function tensor(id: number, name: string, more: Partial<GraphTensor> = {}): GraphTensor {
  const leaf = more.leaf ?? false;
  return {
    id,
    leaf,
    name,
    op: leaf ? 'NONE' : 'MUL_MAT',
    type: 'f32',
    ne: [4, 2, 1, 1],
    bytes: 32,
    layer: null,
    node_type: 'layer',
    computed: !leaf,
    memory: 'BUFFER',
    ...more,
  };
}

/** A model of some layers: an embedding, attention and feed-forward in each layer, an output, and what they share. */
export function model(layers: number): GraphPart {
  const tensors: GraphTensor[] = [tensor(0, 'embd', { op: 'GET_ROWS', node_type: 'embedding' })];
  const edges: GraphEdge[] = [];
  const edge = (from: number, to: number, cross_layer = false) => edges.push({ from, to, src: 0, cross_layer });
  const leaf = (id: number, name: string, more: Partial<GraphTensor>) =>
    leaves.push(tensor(id, name, { leaf: true, ...more }));
  const leaves: GraphTensor[] = [];
  let before = 0;
  for (let layer = 0; layer < layers; layer++) {
    const at = 10 * layer + 1;
    const add = (k: number, name: string, op: string, computed = true) =>
      tensors.push(tensor(at + k, `${name}-${layer}`, { op, layer, computed }));
    add(0, 'norm', 'RMS_NORM');
    add(1, 'Qcur', 'MUL_MAT');
    add(2, 'Qcur', 'RESHAPE', false);
    add(3, 'node', 'FLASH_ATTN_EXT');
    add(4, 'ffn_inp', 'ADD');
    add(5, 'ffn_up', 'MUL_MAT');
    add(6, 'l_out', 'ADD');
    leaf(5000 + 2 * layer, `blk.${layer}.attn_q.weight`, { layer, meaning: 'weight', ne: [8, 8, 1, 1] });
    leaf(5001 + 2 * layer, `blk.${layer}.ffn_up.weight`, { layer, meaning: 'weight', ne: [8, 32, 1, 1] });
    edge(before, at, layer > 0);
    edge(at, at + 1);
    edge(5000 + 2 * layer, at + 1);
    edge(at + 1, at + 2);
    edge(at + 2, at + 3);
    edge(9000, at + 3);
    edge(at + 3, at + 4);
    edge(before, at + 4, layer > 0);
    edge(at + 4, at + 5);
    edge(5001 + 2 * layer, at + 5);
    edge(at + 5, at + 6);
    edge(at + 4, at + 6);
    before = at + 6;
  }
  const last = 10 * layers + 1;
  tensors.push(tensor(last, 'result_output', { node_type: 'output' }));
  edge(before, last);
  leaf(9000, 'attn_inp_kq_mask', { meaning: 'attention mask', node_type: 'infrastructure' });
  const numbers = Array.from({ length: layers }, (_, i) => i);
  return { graph: 0, context: 1, layer: null, layers: numbers, tensors: [...tensors, ...leaves], edges };
}
