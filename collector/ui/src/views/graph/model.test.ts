// Promises of the nested groups and of what is visible of them.
import { describe, expect, it } from 'vitest';
import { search } from './search';
import { sizer } from './labels';
import { parameters, place, scaleOf, valuesOf } from './measures';
import { blockOf, buildModel, groupsAround, openTo } from './model';
import { model, tensor } from './testing';
import { visible } from './visible';

const size = sizer(
  (text) => text.length * 7,
  () => 1,
);
const whole = buildModel(model(3));
const at = (id: number) => whole.index.get(id)!;

describe('groups', () => {
  it('put each operator into its layer and block, whatever its name says or does not say', () => {
    const names = (key: string) =>
      whole.groups[whole.byKey.get(key)!].members
        .map((i) => whole.tensors[i].name)
        .filter((name) => !name.startsWith('blk'));
    expect(names('layer 1/attention')).toEqual(['norm-1', 'Qcur-1', 'Qcur-1', 'node-1', 'ffn_inp-1']);
    expect(names('layer 1/feed-forward')).toEqual(['ffn_up-1', 'l_out-1']);
    expect(names('input')).toEqual(['embd']);
    expect(names('output')).toEqual(['result_output']);
  });

  it('keep weights with those who use them and put what layers share aside', () => {
    expect(groupsAround(whole, at(5002))).toEqual(['model', 'layer 1', 'layer 1/attention']);
    expect(groupsAround(whole, at(9000))).toEqual(['model', 'shared']);
  });

  it('have every tensor in exactly one group', () => {
    const all = whole.groups.flatMap((group) => group.members).sort((a, b) => a - b);
    expect(all).toEqual(whole.tensors.map((_, i) => i));
    expect(whole.groups[0].operators + whole.groups[0].leaves).toBe(whole.tensors.length);
  });

  it('know mixture of experts and state space layers', () => {
    expect(blockOf('ffn_moe_topk-3', 'VIEW')).toBe('feed-forward');
    expect(blockOf('node_7', 'SSM_SCAN')).toBe('state space');
    expect(blockOf('node_7', 'ADD')).toBe(null);
  });

  it('of one layer part show its categories: inputs and outputs outside, shared leaves aside', () => {
    const part = model(1);
    part.layer = 0;
    for (const t of part.tensors) t.category = t.layer === 0 ? 'layer' : t.leaf ? 'infrastructure' : 'input';
    const grouped = buildModel(part);
    expect(groupsAround(grouped, grouped.index.get(0)!)).toEqual(['model']);
    expect(groupsAround(grouped, grouped.index.get(9000)!)).toEqual(['model', 'shared']);
    expect(groupsAround(grouped, grouped.index.get(1)!)).toEqual(['model', 'layer 0/attention']);
  });

  it('take a graph without layers as it is', () => {
    const flat = buildModel({ ...model(0), tensors: [tensor(0, 'a'), tensor(1, 'b')], edges: [] });
    expect(flat.groups).toHaveLength(1);
    expect(flat.groups[0].members).toEqual([0, 1]);
  });
});

describe('what is visible', () => {
  it('is a chain of closed layers at first, with one line for all edges between two of them', () => {
    const seen = visible(whole, { open: openTo(whole, 1), hideViews: false, size });
    const keys = seen.nodes.map((node) => node.key);
    expect(keys).toContain('layer 0');
    expect(keys).not.toContain('layer 0/attention');
    const [a, z] = [seen.byKey.get('layer 0')!, seen.byKey.get('layer 1')!];
    expect(seen.edges.filter((edge) => edge.from === a && edge.to === z)).toEqual([
      { from: a, to: z, count: 2, cross: true },
    ]);
  });

  it('is every tensor and every edge when all is open', () => {
    const seen = visible(whole, { open: openTo(whole, 3), hideViews: false, size });
    expect(seen.nodes.filter((node) => node.kind === 'operator' || node.kind === 'leaf')).toHaveLength(
      whole.tensors.length,
    );
    expect(seen.edges).toHaveLength(whole.part.edges.length);
  });

  it('lets edges pass through views that are left out', () => {
    const seen = visible(whole, { open: openTo(whole, 3), hideViews: true, size });
    expect(seen.byKey.has('#3')).toBe(false);
    const [from, to] = [seen.byKey.get('#2'), seen.byKey.get('#4')];
    expect(seen.edges.some((edge) => edge.from === from && edge.to === to)).toBe(true);
  });
});

describe('search', () => {
  it('finds names first, then operators, types and meanings; all words count', () => {
    const names = (text: string) => search(whole, text).tensors.map((i) => whole.tensors[i].name);
    expect(names('ffn_up-2')[0]).toBe('ffn_up-2');
    expect(names('flash')).toEqual(['node-0', 'node-1', 'node-2']);
    expect(names('attention mask')).toEqual(['attn_inp_kq_mask']);
    expect(names('blk.1 ffn')).toEqual(['blk.1.ffn_up.weight']);
    expect(search(whole, 'f32', 2)).toMatchObject({ total: whole.tensors.length });
    expect(names('no such thing')).toEqual([]);
  });
});

describe('measures', () => {
  it('sum what the nodes of a group took', () => {
    const costs = { node: [1, 2, 11], count: [1, 1, 1], ns: [5, 7, 100], bytes: [0, 0, 0] };
    const { groups } = valuesOf(whole, 'time', costs);
    expect(groups[whole.byKey.get('layer 0')!]).toBe(12);
    expect(groups[0]).toBe(112);
  });

  it('count parameters of weights only', () => {
    expect(parameters(whole, at(5000))).toBe(64);
    expect(parameters(whole, at(9000))).toBe(0);
  });

  it('place values on a logarithmic scale from the least to the most', () => {
    const scale = scaleOf([0, 10, 1000])!;
    expect(scale).toEqual({ least: 10, most: 1000 });
    expect(place(scale, 100)).toBeCloseTo(0.5);
    expect(scaleOf([0])).toBe(null);
  });
});
