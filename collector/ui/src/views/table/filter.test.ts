import { describe, expect, it } from 'vitest';
import {
  apart,
  durationText,
  durations,
  edited,
  fields,
  formatOwn,
  held,
  parseOwn,
  pinned,
  query,
  type Chosen,
  type Own,
} from './filter';

const nothing: Chosen = { tokens: null, layer: null, op: null, tensor: null, node: null };
const none = parseOwn(null);
const given = (own: Own, s: Chosen) =>
  Object.fromEntries(Object.entries(fields(own, s)).filter(([, value]) => value !== ''));

describe('the filter of the table', () => {
  it('comes back from the address as it went in, whatever names are like', () => {
    const own: Own = {
      ...none,
      phase: 'prompt',
      name: 'a b:c>d%25',
      only: true,
      pins: { tokens: { value: '', while: '5' }, tensor: { value: 'K (view) > 1:2', while: null } },
    };
    expect(parseOwn(formatOwn(own))).toEqual(own);
    expect(formatOwn(own)).not.toMatch(/ b:c/);
    expect(formatOwn(none)).toBeNull();
    expect(parseOwn('what ever:1 name:%zz')).toEqual({ ...none, name: '%zz' });
  });

  it('follows the selection', () => {
    const s: Chosen = { tokens: [3, 9], layer: 0, op: 'ADD', tensor: 'x', node: 7 };
    expect(query(none, s)).toEqual({ tokens: '3..9', layer: '0', op: 'ADD', tensor: 'x' });
    expect(query({ ...none, only: true }, s).node).toBe('7');
    expect(apart(none, s)).toBe(false);
  });

  it('does not follow what was chosen in the table itself, until something else changes it', () => {
    const before: Chosen = { ...nothing, tokens: [1, 9], layer: 2 };
    const change: Partial<Chosen> = { tokens: [5, 5], tensor: 'x', node: 7 };
    const own = pinned(none, before, change);
    const after = { ...before, ...change };
    expect(given(own, after)).toEqual({ tokens: '1..9', layer: '2' });
    expect(apart(own, after)).toBe(true);
    // The page's selection is an object of getters, which a spread would lose.
    const { layer, ...others } = before;
    const getters = Object.create({
      get layer() {
        return layer;
      },
    });
    expect(pinned(none, Object.assign(getters, others), change)).toEqual(own);
    // Another row.
    const again = pinned(own, after, { tokens: [6, 6], tensor: 'y', node: 8 });
    expect(given(again, { ...after, tokens: [6, 6], tensor: 'y', node: 8 })).toEqual({ tokens: '1..9', layer: '2' });
    // Another view selects a token: that field follows, the others stay.
    expect(given(own, { ...after, tokens: [6, 6] })).toEqual({ tokens: '6', layer: '2' });
    expect(given(own, nothing)).toEqual({});
    // A link says the same.
    expect(given(parseOwn(formatOwn(own)), after)).toEqual({ tokens: '1..9', layer: '2' });
  });

  it('stays as it is while it is held', () => {
    const own = held(none, { ...nothing, op: 'ADD' }, true);
    expect(given(own, { ...nothing, op: 'MUL', layer: 3 })).toEqual({ op: 'ADD' });
    expect(pinned(own, nothing, { tokens: [1, 1] })).toBe(own);
    expect(given(edited(own, nothing, 'tokens', '7', null).own, nothing)).toEqual({ op: 'ADD', tokens: '7' });
    expect(given(held(own, nothing, false), { ...nothing, op: 'MUL' })).toEqual({ op: 'MUL' });
  });

  it('changes the selection where a field is changed, as far as it can say that', () => {
    const edit = (field: Parameters<typeof edited>[2], text: string, last: number | null = null) =>
      edited(none, { ...nothing, layer: 4 }, field, text, last);
    expect(edit('tokens', '7').change).toEqual({ tokens: [7, 7] });
    expect(edit('tokens', '..9').change).toEqual({ tokens: [0, 9] });
    expect(edit('tokens', '7..', 99).change).toEqual({ tokens: [7, 99] });
    expect(edit('op', 'mul_mat').change).toEqual({ op: 'MUL_MAT' });
    expect(edit('layer', '').change).toEqual({ layer: null });
    expect(edit('tensor', 'a b').change).toEqual({ tensor: 'a b' });
    expect(edit('duration', '1ms..')).toEqual({ own: { ...none, duration: '1ms..' }, change: {} });
    for (const [field, text] of [
      ['tokens', '7..'],
      ['tokens', 'abc'],
      ['tokens', '9..7'],
      ['tokens', '..'],
      ['layer', '3..5'],
      ['op', 'MUL*'],
    ] as const) {
      const { own, change } = edit(field, text);
      expect(change).toEqual({});
      expect(query(own, { ...nothing, layer: 4 })[field]).toBe(text);
    }
    expect(query(edit('layer', '3..5').own, { ...nothing, layer: 6 }).layer).toBe('6');
  });

  it('takes a part of a name, and globs', () => {
    expect(query({ ...none, name: 'ffn' }, nothing)).toEqual({ name: '*ffn*' });
    expect(query({ ...none, name: 'ffn_?-3' }, nothing)).toEqual({ name: 'ffn_?-3' });
  });

  it('says a duration as it is understood', () => {
    expect(['5us', '..20us', '10us..2ms', '1500', '1.5ms', '>2 s', 'fast'].map(durationText)).toEqual([
      '5 µs..',
      '..20 µs',
      '10 µs..2 ms',
      '1.5 µs..',
      '1.5 ms..',
      '2 s..',
      'fast',
    ]);
  });

  it('reads durations with their units, and leaves to the server what it cannot read', () => {
    const read: [string, string][] = [
      ['1ms..', '1000000..'],
      ['10us..2ms', '10000..2000000'],
      ['1..2.5ms', '1000000..2500000'],
      ['..3 µs', '..3000'],
      ['>1ms', '1000000..'],
      ['<= 2s', '..2000000000'],
      ['500', '500..'],
      ['1.5us', '1500..'],
      ['long', 'long'],
      ['..', '..'],
      ['1.2.3ms', '1.2.3ms'],
    ];
    expect(read.map(([text]) => [text, durations(text)])).toEqual(read);
  });
});
