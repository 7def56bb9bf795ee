// Promises of the other tabs: what is drawn is what was answered, in full.
import { describe, expect, it } from 'vitest';
import type { Page } from '../../lib/types';
import { cacheCurves } from './compare/options';
import { linesOf, ratio } from './compare/facts';
import { cacheLines, roofPoints, spread } from './cost/options';
import { embeddedSource, RUN, type Embedded } from './embedded-source';
import { layerOfName } from './models.svelte';
import { attentionOf, attentionText, details, headlines, marksOf } from './overview/facts';
import { stripOf } from './overview/strip';
import { diverging, elementsOf, equation, rowLength, scaleText } from './quant/block';
import { levelBins, valueBins } from './quant/histogram';
import { mixTable } from './quant/mix';
import { communitiesOf } from './ranks/communities';
import { architecture, report } from './testing';
import type { Block, Inspection, Layer, Mix, TensorMix } from './types';
import { metric, parameters, small, tokens } from './words';

const signal = new AbortController().signal;

const layer = (index: number, more: Partial<Layer> = {}): Layer => ({
  index,
  stack: 'model',
  next_token: false,
  attention: { kind: 'gqa', heads: 9, kv_heads: 3, head_k: 64, head_v: 64, window: null, cache: 'own', sinks: false },
  cross_attention: null,
  state: null,
  feed_forward: { size: 1536, gated: true, experts: null },
  ...more,
});

const inspection = {
  name: 'Small',
  size_label: null,
  files: { paths: ['/m/small.gguf'], bytes: 2048, version: 3, header_bytes: 100, alignment: 32, keys: 2, tensors: 3 },
  valid: true,
  contents: null,
  architecture: {
    name: 'llama',
    known: true,
    kind: 'decoder',
    hidden: 576,
    vocabulary: 100,
    context: 8192,
    layers: [layer(0), layer(1, { attention: { ...layer(0).attention!, window: 128 } })],
    loops: 1,
    latent: null,
    window_kind: 'standard',
    rope: null,
    norms: ['rms'],
    layer_norms: [],
    tied_embeddings: true,
    causal: true,
    pooling: null,
  },
  tokenizer: null,
  parameters: {
    total: 300,
    active: 200,
    by_component: [{ component: 'attention', total: 300, active: 200 }],
    by_layer: [0, 1].map((n) => ({
      stack: 'model',
      layer: n,
      total: 150,
      active: 100,
      by_component: [{ component: 'attention', total: 150, active: 100 }],
    })),
    textbook: null,
  },
  memory: {
    weights: {
      bytes: 150,
      parameters: 300,
      bits_per_weight: 4,
      loaded_bytes: 150,
      mapped_bytes: 150,
      by_component: [],
      by_type: [],
      by_layer: [],
    },
    as_types: [],
    contexts: [512, 1024],
    cache_types: [
      { type: 'f16', bytes: [10, 20] },
      { type: 'bf16', bytes: [10, 20] },
      { type: 'q8_0', bytes: [5, 10] },
      { type: 'q4_0', bytes: null },
    ],
    context: 512,
    sequences: 1,
    cache_type: ['f16', 'f16'],
    caches: null,
    cache_error: null,
    compute_bytes: 1,
    total_bytes: 161,
    offload: null,
  },
  costs: { generate: [], prompt: [] },
  metadata: [],
  tensors: [],
  findings: [],
} satisfies Inspection;

const tensor = (
  name: string,
  part: string,
  at: number | null,
  type: string,
  bytes: number,
  elements = 8,
): TensorMix => ({
  name,
  role: { component: 'attention', stack: 'model', layer: at, part, kind: 'weight', expert: null },
  ne: [elements, 1, 1, 1],
  type,
  elements,
  bytes,
  bits_per_weight: (8 * bytes) / elements,
  offset: 0,
});
const share = { tensors: 0, elements: 0, bytes: 0, bits_per_weight: null, types: [] };
const mix: Mix = {
  file: '/m/small.gguf',
  total: share,
  parts: [],
  layers: [null, 0, 1].map((n) => ({ ...share, stack: 'model', layer: n })),
  tensors: [
    tensor('token_embd.weight', 'token_embd', null, 'q8_0', 9),
    tensor('blk.0.attn_q.weight', 'attn_q', 0, 'q4_K', 4),
    tensor('blk.1.attn_q.weight', 'attn_q', 1, 'q6_K', 6),
    tensor('blk.1.ffn_up.0.weight', 'ffn_up', 1, 'q4_K', 4),
    tensor('blk.1.ffn_up.1.weight', 'ffn_up', 1, 'q6_K', 6),
  ],
};

describe('the overview', () => {
  it('names the attention, what is shared, and what makes a layer unlike the others', () => {
    const found = attentionOf(inspection.architecture)!;
    expect(found.layers).toBe(2);
    expect(attentionText(found.attention)).toBe('grouped-query attention: 9 query heads share 3 key and value heads');
    expect(marksOf(inspection.architecture.layers[0])).toEqual([]);
    expect(marksOf(inspection.architecture.layers[1])).toEqual(['window of 128']);
    expect(marksOf(layer(2, { attention: null, state: 'mamba2' }))).toEqual(['mamba2']);
    const experts = { count: 8, used: 2, size: 100, shared_size: 0 };
    expect(marksOf(layer(3, { feed_forward: { size: 0, gated: true, experts } }))).toEqual(['2 of 8 experts']);
  });

  it('says how many parameters a token uses where that is less than all', () => {
    expect(headlines(inspection)[0]).toEqual({ name: 'parameters', value: '300', more: '200 active a token' });
    expect(details(inspection).find((fact) => fact.name === 'sliding window')?.value).toBe(
      '128 tokens in 1 of 2 layers, standard',
    );
  });

  it('has a column for each layer, in parameters or in bytes', () => {
    expect(stripOf(inspection, null).map((column) => column.total)).toEqual([150, 150]);
    expect(stripOf(inspection, mix).map((column) => column.total)).toEqual([4, 16]);
    expect(stripOf(inspection, null)[1].marks).toEqual(['window of 128']);
  });
});

describe('the mix of types', () => {
  it('has every tensor in the cell of its part and layer', () => {
    const table = mixTable(mix);
    const held = table.rows.flatMap((row) => row.cells.flatMap((cell) => cell?.tensors.map((t) => t.name) ?? []));
    expect(held.sort()).toEqual(mix.tensors.map((t) => t.name).sort());
    const up = table.rows.find((row) => row.part === 'ffn_up')!.cells[2]!;
    expect([up.type, up.bits]).toEqual(['mixed', 5]);
  });
});

describe('a block', () => {
  const block: Block = {
    tensor: 'w',
    type: 'q4_K',
    index: 3,
    of: 6,
    at: [256, 1, 0, 0],
    file: '/m/small.gguf',
    offset: 4096,
    bytes: '00ff',
    scheme: { elements: 4, bytes: 2, sub_blocks: 2, formula: 'x = d·s·q − dmin·m' },
    d: 0.5,
    dmin: 0.25,
    sub_blocks: [
      { scale_code: 2, min_code: 1, scale: 1, min: -0.25, quants: [0, 3] },
      { scale_code: 4, min_code: 0, scale: 2, min: 0, quants: [1, 15] },
    ],
    values: [-0.25, 2.75, 2, 30],
  };

  it('has a cell for each element, with the equation that makes its value', () => {
    const elements = elementsOf(block).flat();
    expect(elements.map((e) => [e.at, e.sub, e.quant, e.value])).toEqual([
      [0, 0, 0, -0.25],
      [1, 0, 3, 2.75],
      [2, 1, 1, 2],
      [3, 1, 15, 30],
    ]);
    expect(equation(block, elements[1])).toBe('2.75 = 1 × 3 − 0.25');
    expect(scaleText(block.sub_blocks[1])).toBe('2 = d × 4');
    expect(rowLength(block)).toBe(2);
  });

  it('states no equation that is not true', () => {
    const shifted = { ...block, values: [0, 9, 9, 9] };
    expect(equation(shifted, elementsOf(shifted)[0][1])).toBe(null);
    const unknown = { ...block, values: null };
    expect(equation(unknown, elementsOf(unknown)[0][0])).toBe(null);
  });

  it('is coloured by sign and size', () => {
    expect(diverging(-1)).toContain('55%');
    expect(diverging(0)).toContain('0%');
    expect(diverging(1)).not.toBe(diverging(-1));
  });
});

describe('distributions', () => {
  it('keep every count, and edges that meet', () => {
    const bins = valueBins({ histogram: { from: -1, to: 1, counts: [1, 2, 3, 4] } } as never);
    expect(bins.map((bin) => bin.count)).toEqual([1, 2, 3, 4]);
    expect(bins.map((bin) => bin.from)).toEqual([-1, -0.5, 0, 0.5]);
    expect(bins[3].to).toBe(1);
    expect(levelBins({ used: 2, entropy_bits: 1, counts: [{ level: -8, count: 5 }] })[0].label).toBe('−8');
    expect(valueBins({ histogram: null } as never)).toEqual([]);
  });
});

describe('memory and cost', () => {
  it('shows types whose caches are of one size as one line', () => {
    expect(cacheLines(inspection.memory).map((line) => line.types)).toEqual([['f16', 'bf16'], ['q8_0']]);
  });

  it('keeps labels apart, and where they are as long as they are', () => {
    expect(spread([10, 100, 104], 12, 200)).toEqual([0, 0, 8]);
    // Where there is no room below they move up.
    expect(spread([102, 101, 100], 12, 110)).toEqual([8, -3, -14]);
  });

  it('sets operators in relation to what limits them', () => {
    const one = { op: 'MUL_MAT', phase: 'GENERATE' as const, count: 1, ns: 1e9, bytes: 10e9, flops: 20e9 };
    const [free] = roofPoints([one, { ...one, flops: 0 }], { bandwidth: null, flops: null });
    expect([free.intensity, free.reached, free.share]).toEqual([2, 20e9, null]);
    const [bound] = roofPoints([one], { bandwidth: 20e9, flops: 1000e9 });
    expect(bound.share).toBe(0.5);
  });
});

describe('models side by side', () => {
  it('are compared with the first', () => {
    const other = { ...inspection, parameters: { ...inspection.parameters, total: 600 } };
    const line = linesOf([inspection, other]).find((l) => l.name === 'parameters')!;
    expect([line.values, ratio(line, 0), ratio(line, 1)]).toEqual([['300', '600'], null, '× 2.00']);
  });

  it('are drawn over all contexts that any has', () => {
    const other = { ...inspection, memory: { ...inspection.memory, contexts: [1024, 2048] } };
    expect(cacheCurves([inspection, other])).toEqual({
      at: [512, 1024, 2048],
      values: [
        [10, 20, null],
        [null, 10, 20],
      ],
    });
  });
});

describe('communities', () => {
  it('are told by their layers and kinds', () => {
    const graph = architecture(4, 2, 2);
    const [first, , third] = communitiesOf(report(graph));
    expect([first.layers, first.size]).toEqual(['layer 0', graph.nodes.filter((n) => n.layer === 0).length]);
    expect(first.kinds).toContain('4 query head');
    expect(third.layers).toBe('no layer');
    expect(graph.nodes[first.first].layer).toBe(0);
  });
});

describe('a file that carries its model', () => {
  const graph = architecture();
  const block = { tensor: 'w', index: 5, of: 9 } as Block;
  const data: Embedded = {
    made_by: 'ggscope 1',
    inspection,
    graphs: [graph],
    analytics: [{ schema: 'standard', weight: 'none', report: report(graph) }],
    mix,
    tensors: [],
    blocks: [block],
    run: null,
    left_out: null,
  };
  const source = embeddedSource(data);

  it('answers what is in it, and says what is not', async () => {
    expect((await source.models(signal))[0]).toMatchObject({ id: '0', name: 'Small', layers: 2, sessions: [] });
    expect(await source.graph('0', 'standard', null, signal)).toBe(graph);
    const page: Page<Block> = await source.blocks('0', 'w', 5, 1, signal);
    expect([page.items, page.total, source.known('w'), source.known('v')]).toEqual([[block], 9, [5], []]);
    await expect(source.tensor('0', 'w', signal)).rejects.toThrow('the distribution of w is not in this file');
    await expect(source.blocks('0', 'w', 6, 1, signal)).rejects.toThrow('block 6 of w');
    expect(source.offers).toMatchObject({ schemas: ['standard'], weights: ['none'], computed: false });
  });

  it('ties the model to the run that is in it', async () => {
    const ran = embeddedSource({ ...data, run: { trace: 'a', weights: [], reached: [] } });
    expect((await ran.models(signal))[0].sessions).toEqual([RUN]);
    expect(await ran.weights(RUN, 'm', signal)).toEqual([]);
  });
});

describe('names', () => {
  it('of tensors say their layer', () => {
    const said = ['blk.5.attn_q.weight', 'v.blk.11.ffn_up.weight', 'Qcur-7', 'Qcur-7 (view)', 'output.weight', null];
    expect(said.map(layerOfName)).toEqual([5, 11, 7, 7, null, null]);
  });

  it('of numbers are short and exact', () => {
    expect([parameters(134_515_008), parameters(576), parameters(70.6e9)]).toEqual(['135 M', '576', '70.6 B']);
    expect([metric(269_169_408, 'FLOP'), tokens(8192), tokens(1000)]).toEqual(['269 MFLOP', '8k', '1,000']);
    expect([small(-0.1640625), small(0), small(1.5e-7)]).toEqual(['−0.1641', '0', '1.500e−7']);
  });
});
