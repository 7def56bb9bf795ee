import { expect, it } from 'vitest';
import { behindText } from './behind';

it('says how far a picture is behind, and that it is up to date when it is', () => {
  expect(behindText(99, 99)).toMatchObject({ tokens: 0, kind: 'current', text: 'up to date' });
  expect(behindText(99, 96)).toMatchObject({ tokens: 3, kind: 'late', text: '3 tokens behind' });
  expect(behindText(99, 98).text).toBe('1 token behind');
  expect(behindText(99, null)).toMatchObject({ tokens: null, kind: 'late', text: 'nothing yet' });
  // Asked for more than there is, as a picture of a token in its middle is.
  expect(behindText(99, 99, 120).text).toBe('up to date');
});

it('a picture of earlier tokens is not late, and says that there are newer ones', () => {
  expect(behindText(99, 40, 40)).toMatchObject({ tokens: 0, kind: 'past', text: '59 tokens before the newest' });
  expect(behindText(99, 38, 40)).toMatchObject({ tokens: 2, kind: 'late' });
});
