import { expect, it } from 'vitest';
import { linksOf, sourcesOf, spaceOf, staysOf, type AttentionLinks } from './links';

const OF: AttentionLinks = {
  token: 9,
  first: 7,
  layers: [2, 5],
  n_head: 3,
  tokens: [
    { token: 0, pos: 0, text: 'a', shares: [0.25, 0.1, 0] },
    { token: 8, pos: 8, text: 'b', shares: [0.25, 0, 0] },
    { token: 9, pos: 9, text: 'c', shares: [0.5, 0.9, 1] },
  ],
  links: {
    layer: [5, 5, 2],
    head: [0, 2, 1],
    query: [9, 9, 8],
    key: [0, 9, 0],
    weight: [0.25, 0.5, 1],
    share: [0.04, 0.01, 0.0025],
  },
  left_out: 0,
  refused: [],
};
const space = spaceOf(OF);

it('tokens go from left to right, layers upward and heads to the back, around the middle', () => {
  expect([0, 8, 9].map(space.x)).toEqual([-50, 0, 50]);
  expect([0, 1, 2].map(space.y)).toEqual([-36, 0, 36]);
  expect([0, 1, 2].map(space.z)).toEqual([-22, 0, 22]);
  const alone = spaceOf({ ...OF, tokens: OF.tokens.slice(0, 1), n_head: 1 });
  expect([alone.x(0), alone.z(0)]).toEqual([0, 0]);
});

it('a link goes from above its layer to below it, in its head', () => {
  const [weak, , strong] = linksOf(OF, space, { space: 'flow', alone: false }, 0, 9);
  expect([strong.from, strong.to]).toEqual([
    [50, 36, -22],
    [-50, 0, -22],
  ]);
  expect([strong.strength, weak.strength]).toEqual([1, 0.25]);
  expect(weak.from).toEqual([0, 0, 0]);
});

it('shows what flows, what the token looks at, or what all do, of one head or of all', () => {
  const shown = (look: Parameters<typeof linksOf>[2], most = 9) =>
    linksOf(OF, space, look, 2, most).map((link) => [link.layer, link.head, link.query]);
  expect(shown({ space: 'fan', alone: false })).toEqual([
    [5, 0, 9],
    [5, 2, 9],
  ]);
  expect(shown({ space: 'all', alone: false }, 1)).toEqual([[2, 1, 8]]);
  expect(shown({ space: 'flow', alone: true })).toEqual([[5, 2, 9]]);
});

it('says where the state is, and where it comes from', () => {
  expect(staysOf(OF).map((stay) => [stay.token, stay.level])).toEqual([
    [0, 0],
    [0, 1],
    [8, 0],
    [9, 0],
    [9, 1],
    [9, 2],
  ]);
  expect(sourcesOf(OF, 2).map((source) => source.token)).toEqual([9, 0]);
});
