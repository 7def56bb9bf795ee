import { expect, it } from 'vitest';
import { inkOn, opColor } from './colors';

it('what is written on a colour can be read', () => {
  expect(inkOn('#000000')).toBe('#ffffff');
  expect(inkOn('rgb(255, 255, 255)')).toBe('#000000');
  // In between both can be read; the better one is taken.
  expect(inkOn('#767676')).toBe('#000000');
  expect(inkOn('rgb(70,70,70)')).toBe('#ffffff');
  expect(inkOn(opColor('FLASH_ATTN_EXT'))).toBe('#000000');
});
