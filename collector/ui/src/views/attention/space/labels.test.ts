import { expect, it } from 'vitest';
import { place, type Label } from './labels';

const size = { width: 200, height: 100 };
const at = (x: number, y: number): Label => ({ x, y, half: 20, height: 12 });

it('a name is within the picture', () => {
  expect(place(at(2, 2), [], size, false)).toEqual({ x: 20, y: 8 });
  expect(place(at(199, 99), [], size, false)).toEqual({ x: 180, y: 92 });
  expect(place(at(100, 50), [], size, false)).toEqual({ x: 100, y: 50 });
});

it('none is written over another: it is left out, or moves if it has to be there', () => {
  expect(place(at(110, 55), [at(100, 50)], size, false)).toBe(null);
  expect(place(at(141, 55), [at(100, 50)], size, false)).toEqual({ x: 141, y: 55 });
  expect(place(at(100, 50), [at(100, 50)], size, true)).toEqual({ x: 100, y: 38 });
  expect(place(at(100, 50), [at(100, 50), at(100, 38)], size, true)).toEqual({ x: 100, y: 62 });
});
