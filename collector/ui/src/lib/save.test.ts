import { expect, it } from 'vitest';
import { csv } from './save';

it('quotes what CSV has to, and lets no text become a formula', () => {
  const rows = [
    { name: 'a "b", c\n', n: -1, none: null },
    { name: '=1+1', n: 2, none: undefined },
  ];
  expect(csv(rows)).toBe('name,n,none\r\n"a ""b"", c\n",-1,\r\n\'=1+1,2,\r\n');
});
