import { describe, expect, it } from 'vitest';
import { format, parse, selection } from './selection.svelte';

describe('the selection in the address', () => {
  it('comes back as it went in', () => {
    const address = format(
      parse(
        '?session=3&view=graph+table&tokens=7..9&context=1&layer=0&head=3&key=4&attention=stages+linear&measure=entropy&heads=induction+12.3&op=MUL_MAT&node=12&tensor=a%26b%3D%22&with=1&filter=phase:prompt+name:l%25&sort=-duration&experts=generate+expert:3&compare=layer&axis=tokens&window=-0.5..1234.000001&colour=time&size=bytes&depth=blocks&toggled=layer+3,layer+3/attention&closed=layer+0/attention&hide=views&metric=last&disk=0..4096&buffer=16..32&row=123456&model=1&tab=quant&schema=tutorial&paint=bits&scale=bytes&open=layer_5,layer_5/heads&part=layer_5_head_3&block=12&ctx=8192&parallel=4&cache_k=q8_0&cache_v=q4_0&vram=8589934592&bandwidth=20000000000.5&flops=1000000000&edges=contains,uses&weight=time&of=computation&full=table',
      ),
    );
    expect(parse(address)).toEqual({
      session: '3',
      views: ['graph', 'table'],
      tokens: [7, 9],
      context: 1,
      layer: 0,
      head: 3,
      key: 4,
      attention: 'stages linear',
      measure: 'entropy',
      heads: 'induction 12.3',
      op: 'MUL_MAT',
      node: 12,
      tensor: 'a&b="',
      other: '1',
      filter: 'phase:prompt name:l%',
      sort: '-duration',
      experts: 'generate expert:3',
      row: 123456,
      full: 'table',
      compare: 'layer',
      axis: 'tokens',
      window: [-0.5, 1234.000001],
      colour: 'time',
      size: 'bytes',
      depth: 'blocks',
      toggled: ['layer 3', 'layer 3/attention'],
      closed: ['layer 0/attention'],
      hidden: true,
      metric: 'last',
      disk: [0, 4096],
      buffer: [16, 32],
      model: {
        model: '1',
        tab: 'quant',
        schema: 'tutorial',
        paint: 'bits',
        scale: 'bytes',
        open: ['layer_5', 'layer_5/heads'],
        part: 'layer_5_head_3',
        block: 12,
        plan: { ctx: 8192, parallel: 4, k: 'q8_0', v: 'q4_0', vram: 8589934592 },
        machine: { bandwidth: 20000000000.5, flops: 1000000000 },
        edges: ['contains', 'uses'],
        weight: 'time',
        computed: true,
      },
    });
    expect(format(parse(address))).toBe(address);
  });

  it('is empty where the address makes no sense', () => {
    const { tokens, layer, head, node, views, filter } = parse('?tokens=9..7&layer=-1&head=x&node=1e9&view=nothing');
    expect({ tokens, layer, head, node, views, filter }).toEqual({
      tokens: null,
      layer: null,
      head: null,
      node: null,
      views: ['graph'],
      filter: null,
    });
  });

  it('takes what a view cannot show for what it shows by itself', () => {
    const odd = parse(
      '?window=9..7&axis=bytes&colour=red&size=1&depth=4&toggled=,,&hide=all&metric=constructor&disk=1e3..2e3&buffer=5',
    );
    const plain = parse('');
    expect(odd).toEqual(plain);
    expect(format(plain)).toBe('?view=graph');
  });

  it('lets go of the head with the rest', () => {
    selection.set({ session: '3', layer: 5, head: 2, tokens: [7, 7] });
    expect(format(selection)).toBe('?session=3&view=graph&tokens=7&layer=5&head=2');
    selection.clear();
    expect(format(selection)).toBe('?session=3&view=graph');
  });
});
