import { describe, expect, it } from 'vitest';
import { format, parse } from './selection.svelte';

describe('the selection in the address', () => {
  it('comes back as it went in', () => {
    const address = format(
      parse(
        '?session=3&view=graph+table&tokens=7..9&layer=0&op=MUL_MAT&node=12&tensor=a%26b%3D%22&with=1&filter=phase:prompt+name:l%25&sort=-duration&compare=layer',
      ),
    );
    expect(parse(address)).toEqual({
      session: '3',
      views: ['graph', 'table'],
      tokens: [7, 9],
      layer: 0,
      op: 'MUL_MAT',
      node: 12,
      tensor: 'a&b="',
      other: '1',
      filter: 'phase:prompt name:l%',
      sort: '-duration',
      compare: 'layer',
    });
    expect(format(parse(address))).toBe(address);
  });

  it('is empty where the address makes no sense', () => {
    const { tokens, layer, node, views, filter } = parse('?tokens=9..7&layer=-1&node=1e9&view=nothing');
    expect({ tokens, layer, node, views, filter }).toEqual({
      tokens: null,
      layer: null,
      node: null,
      views: ['graph'],
      filter: null,
    });
  });
});
