import { expect, it } from 'vitest';
import { joined, labelOf, running } from './joined';
import type { Token } from './types';

const hex = (bytes: number[]) => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
const encoder = new TextEncoder();

/** Tokens of a text that is cut after so many bytes each. */
function tokens(text: string, lengths: number[]): (number: number) => Token | undefined {
  const all = [...encoder.encode(text)];
  const made: Token[] = [];
  for (const length of lengths) {
    const bytes = all.splice(0, length);
    const text = new TextDecoder().decode(Uint8Array.from(bytes));
    const whole = hex([...encoder.encode(text)]) === hex(bytes);
    made.push({ number: made.length, id: 1, text, text_bytes: whole ? null : hex(bytes), phase: 'PROMPT' });
  }
  return (number) => made[number];
}

it('tokens that are parts of a character are shown as that character, with the part that each is', () => {
  const of = tokens('a🎉b', [1, 1, 2, 1, 1]);
  expect(joined(0, of)).toBe(null);
  for (const n of [1, 2, 3]) expect(joined(n, of)).toEqual({ text: '🎉', tokens: [1, 2, 3] });
  expect([0, 1, 2, 3, 4].map((n) => labelOf(of(n)!, of))).toEqual(['a', '🎉 1/3', '🎉 2/3', '🎉 3/3', 'b']);
  expect(running(0, 4, of)).toBe('a🎉b');
  expect(running(2, 4, of)).toBe('🎉b');
});

it('characters side by side are told apart, and a token can have the end of one and the begin of the next', () => {
  const two = tokens('üö', [1, 1, 1, 1]);
  expect([0, 1, 2, 3].map((n) => labelOf(two(n)!, two))).toEqual(['ü 1/2', 'ü 2/2', 'ö 1/2', 'ö 2/2']);
  expect(running(0, 3, two)).toBe('üö');
  const across = tokens('üö', [1, 2, 1]);
  expect([0, 1, 2].map((n) => labelOf(across(n)!, across))).toEqual(['üö 1/3', 'üö 2/3', 'üö 3/3']);
  expect(running(0, 2, across)).toBe('üö');
});

it('bytes that are no character stay as they are, and so does one whose rest has not come', () => {
  const cut = tokens('🎉', [2]);
  expect(joined(0, cut)).toBe(null);
  expect(labelOf(cut(0)!, cut)).toBe(cut(0)!.text);
  const wrong: Token = { number: 0, id: 1, text: '\ufffd', text_bytes: 'ff', phase: 'PROMPT' };
  expect(labelOf(wrong, () => wrong)).toBe('\ufffd');
  expect(running(0, 0, () => wrong)).toBe('\ufffd');
});
