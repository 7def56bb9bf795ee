import { expect, it } from 'vitest';
import { bringsNone, captureOf, captureText, formOf, isSame, withSets, type CaptureOf } from './settings';

const ALL: CaptureOf = {
  names: ['attention', 'Qcur-*', 'layers'],
  layers: '0-3,7',
  heads: '1',
  tokens: '',
  every: 8,
  statistics: false,
  as_f16: true,
  budget: 64 << 20,
};

it('what the server says comes back from the form as it was', () => {
  expect(isSame(captureOf(formOf(ALL)), ALL)).toBe(true);
  expect(captureOf({ ...formOf(ALL), globs: ' a-* ,, b  c' }).names).toEqual(['attention', 'layers', 'a-*', 'b', 'c']);
});

it('heads belong to attention, an empty budget is none, and every 0th is every one', () => {
  const form = formOf(ALL);
  expect(captureOf({ ...form, sets: ['layers'] }).heads).toBe('');
  expect(captureOf({ ...form, budget: null }).budget).toBe(null);
  expect(captureOf({ ...form, every: 0 }).every).toBe(1);
  expect(captureOf({ ...form, budget: 0.5 }).budget).toBe(1 << 19);
});

it('a capture is said in a few words, and sets are added once', () => {
  expect(captureText({ ...ALL, names: [] })).toBe('nothing');
  expect(captureText(ALL)).toBe(
    'attention, Qcur-*, layers · layers 0-3,7 · heads 1 · one of 8 tokens of an answer · as f16 · at most 64 MiB/s',
  );
  expect(withSets(ALL, ['layers', 'values']).names).toEqual(['attention', 'Qcur-*', 'layers', 'values']);
});

it('what is captured brings none of what it has neither a set nor a tensor of', () => {
  const of = (...names: string[]) => ({ ...ALL, names });
  expect(bringsNone({ now: of(), next: null }, ['attention'])).toBe(true);
  expect(bringsNone({ now: of('layers'), next: null }, ['attention'])).toBe(true);
  expect(bringsNone({ now: of('layers'), next: null }, ['layers', 'logits'])).toBe(false);
  expect(bringsNone({ now: of(), next: of('attention') }, ['attention'])).toBe(false);
  expect(bringsNone({ now: of('Kcur-*'), next: null }, ['attention'])).toBe(false);
});
