import { describe, expect, it } from 'vitest';
import type { GraphPart, GraphTensor, Spans } from '../../lib/types';
import { flameOf, partAt, wantedOperators } from './flame';

function tensor(id: number, name: string, op: string, layer: number | null, leaf = false): GraphTensor {
  return {
    ...{ id, leaf, name, op, type: 'f32', ne: [1, 1, 1, 1], bytes: 4, layer, computed: !leaf, memory: null },
    node_type: layer === null ? 'embedding' : 'layer',
  };
}

const graph: GraphPart = {
  graph: 3,
  context: 1,
  layer: null,
  layers: [0, 1],
  tensors: [
    tensor(0, 'embd', 'GET_ROWS', null),
    tensor(1, 'norm-0', 'RMS_NORM', 0),
    tensor(2, 'attn_norm-0', 'MUL', 0),
    tensor(3, 'Qcur-0', 'MUL_MAT', 0),
    tensor(4, 'ffn_up-0', 'MUL_MAT', 0),
    tensor(5, 'ffn_up-1', 'MUL_MAT', 1),
    tensor(9, 'blk.0.attn_q.weight', 'NONE', 0, true),
  ],
  edges: [{ from: 9, to: 3, src: 0, cross_layer: false }],
};

const spans = (dur: (number | null)[], fused_into: (number | null)[] = []): Spans => {
  let at = 0;
  const start = dur.map((d) => {
    const begin = at;
    at += d ?? 0;
    return begin;
  });
  return {
    ...{ eval: 7, seq: 7, graph: 3, t_ns: 0, dur_ns: 100, node: dur.map((_, i) => i), start, dur },
    fused_into: dur.map((_, i) => fused_into[i] ?? null),
  };
};

describe('the flame of an evaluation', () => {
  const flame = flameOf(spans([10, null, 5, 20, 30, 10], [null, 2]), graph);

  it('groups operators that follow each other by layer and by block', () => {
    expect(flame.layers.map((l) => [l.label, l.start, l.end, l.ns])).toEqual([
      ['embedding', 0, 10, 10],
      ['layer 0', 10, 65, 55],
      ['layer 1', 65, 75, 10],
    ]);
    expect(flame.blocks.map((b) => b.label)).toEqual(['other', 'norm', 'attention', 'feed-forward', 'feed-forward']);
  });

  it('gives the time of a fused pair to the one that has it, and finds both there', () => {
    expect(flame.operators.map((o) => o.node)).toEqual([0, 2, 3, 4, 5]);
    expect(flame.operators[1].fused).toEqual([1]);
    expect(flame.byNode.get(1)).toBe(flame.byNode.get(2));
    expect(flame.unknown).toEqual([]);
  });

  it('claims no time for what has none: its run is one part until the next begins', () => {
    const { operators, unknown } = flameOf(
      { ...spans([10, null, null, 20, null, null]), start: [0, 10, 10, 60, 80, 80] },
      graph,
    );
    expect(operators.map((o) => o.node)).toEqual([0, 3]);
    expect(unknown).toEqual([
      { start: 10, end: 60, nodes: [1, 2] },
      { start: 80, end: 100, nodes: [4, 5] },
    ]);
    const nothing = flameOf(spans([null, null, null], [null, 2]), graph);
    expect(nothing.unknown).toEqual([{ start: 0, end: 100, nodes: [0, 2, 1] }]);
  });

  it('names nodes that the graph does not have by nothing, and goes on', () => {
    const { operators, layers } = flameOf({ ...spans([10]), node: [99] }, graph);
    expect(operators[0].tensor).toBeUndefined();
    expect(layers[0].label).toBe('other');
  });
});

it('finds the part at a time or near it', () => {
  const parts = [
    { start: 0, end: 10 },
    { start: 12, end: 20 },
  ];
  expect([-1, 0, 10, 11, 11.5, 25].map((at) => partAt(parts, at, 1.5))).toEqual([
    ...[parts[0], parts[0], parts[0], parts[0], parts[1], undefined],
  ]);
});

describe('the selection in a flame', () => {
  const flame = flameOf(spans([10, null, 5, 20, 30, 10], [null, 2]), graph);
  const wanted = (change: object) => {
    const chosen = wantedOperators(flame, { layer: null, op: null, tensor: null, ...change });
    return chosen && [...chosen].map((i) => flame.operators[i].node);
  };

  it('is nothing, a layer, a kind of operator, or both', () => {
    expect(wanted({})).toBeNull();
    expect(wanted({ layer: 0 })).toEqual([2, 3, 4]);
    expect(wanted({ op: 'MUL_MAT' })).toEqual([3, 4, 5]);
    expect(wanted({ layer: 1, op: 'MUL_MAT' })).toEqual([5]);
    expect(wanted({ op: 'RMS_NORM' })).toEqual([2]);
  });

  it('is a node by its number, in other graphs by its name, and a leaf by who uses it', () => {
    expect(wanted({ tensor: { graph: 3, id: 1, name: 'norm-0', op: 'RMS_NORM' } })).toEqual([2]);
    expect(wanted({ tensor: { graph: 8, id: 77, name: 'ffn_up-0', op: 'MUL_MAT' } })).toEqual([4]);
    expect(wanted({ tensor: { name: 'blk.0.attn_q.weight' } })).toEqual([3]);
    expect(wanted({ tensor: { name: 'nowhere' } })).toEqual([]);
    expect(wanted({ layer: 1, tensor: { name: 'ffn_up-0' } })).toEqual([4]);
  });
});
