import { expect, it } from 'vitest';
import { formatLook, parseLook } from './look';

it('how the view is set comes back from its words, and what makes no sense is as at first', () => {
  const words = 'against fan stages self linear 512 every whole alone sink';
  expect(formatLook(parseLook(words))).toBe(words);
  expect(parseLook(words)).toEqual({
    mode: 'against',
    space: 'fan',
    alone: true,
    sink: true,
    pane: 'stages',
    paint: 'self',
    scale: 'linear',
    span: 512,
    every: true,
    whole: true,
  });
  expect(formatLook(parseLook(null))).toBe(null);
  expect(parseLook('constructor 7 root')).toEqual(parseLook(null));
});
