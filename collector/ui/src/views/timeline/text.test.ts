import { expect, it } from 'vitest';
import { shorten } from './text';

const measure = (text: string) => [...text].length * 6;

it('shortens a text to its place, and leaves it out where too little would be left', () => {
  expect(shorten('ffn_up-3', 48, measure)).toBe('ffn_up-3');
  expect(shorten('ffn_up-3', 47, measure)).toBe('ffn_up…');
  expect(shorten('ffn_up-3', 20, measure, 3)).toBe('');
  expect(shorten('🙂🙂🙂', 13, measure)).toBe('🙂…');
});
