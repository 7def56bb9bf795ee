import { expect, it } from 'vitest';
import { helpHere } from './help';

it('drops of help what speaks of routes, and keeps the rest', () => {
  expect(helpHere('/sessions/ID says how many tokens there are, and attention/map which layers and heads')).toBe('');
  expect(helpHere('/api/v1/openapi.json describes what can be captured; docs/capture.md explains it')).toBe(
    'docs/capture.md explains it',
  );
  expect(helpHere('give the id of another session: ?with=1; /api/v1/sessions lists them')).toBe('');
  expect(helpHere('record with `ggscope record --capture attention -- PROGRAM`')).toContain('--capture attention');
});
