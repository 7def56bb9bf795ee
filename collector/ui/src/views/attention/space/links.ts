// Links between tokens in all layers as places in space: tokens from left to right, layers upward, heads from front to back.
import type { Look } from '../look';

/** What the server answers about the links of a token and of those before it. */
export interface AttentionLinks {
  token: number;
  first: number;
  layers: number[];
  n_head: number;
  /** `shares`: of the followed token's state before each layer, and after the last. */
  tokens: { token: number; pos: number | null; text: string | null; shares: number[] }[];
  links: {
    layer: number[];
    head: number[];
    query: number[];
    key: number[];
    weight: number[];
    share: number[];
  };
  left_out: number;
  refused: { layer: number; tokens: number; why: string }[];
}

export type Point = readonly [x: number, y: number, z: number];

export interface Link {
  layer: number;
  head: number;
  query: number;
  key: number;
  weight: number;
  share: number;
  /** How strongly it is drawn, 0 to 1. */
  strength: number;
  /** From the token that looks, above the layer, to the one that it looks at, below. */
  from: Point;
  to: Point;
}

/** Where the followed token's state is between two layers. */
export interface Stay {
  token: number;
  /** Layers below it. */
  level: number;
  share: number;
}

/** Where things are. The middle of all is the origin. */
export interface Space {
  tokens: readonly number[];
  layers: readonly number[];
  heads: number;
  x: (token: number) => number;
  y: (level: number) => number;
  z: (head: number) => number;
  /** Half of its size in each direction. */
  half: Point;
}

/** Sizes of all: as wide as a screen is beside its height. */
const [WIDE, HIGH, DEEP] = [100, 72, 44];
/** Less than this of the state of a token is not drawn. */
const LEAST_SHARE = 0.01;

export function spaceOf(of: AttentionLinks): Space {
  const tokens = of.tokens.map((token) => token.token);
  const at = new Map(tokens.map((token, i) => [token, i]));
  const step = (size: number, n: number) => size / Math.max(1, n - 1);
  const [sx, sy, sz] = [step(WIDE, tokens.length), HIGH / Math.max(1, of.layers.length), step(DEEP, of.n_head)];
  return {
    tokens,
    layers: of.layers,
    heads: of.n_head,
    x: (token) => (at.get(token) ?? 0) * sx - (tokens.length > 1 ? WIDE / 2 : 0),
    y: (level) => level * sy - HIGH / 2,
    z: (head) => head * sz - (of.n_head > 1 ? DEEP / 2 : 0),
    half: [WIDE / 2, HIGH / 2, DEEP / 2],
  };
}

/** The links that are drawn, the strongest last: `most` of them. */
export function linksOf(
  of: AttentionLinks,
  space: Space,
  look: Pick<Look, 'space' | 'alone'>,
  head: number,
  most: number,
): Link[] {
  const { layer, head: heads, query, key, weight, share } = of.links;
  const flow = look.space === 'flow';
  const chosen: number[] = [];
  for (let i = 0; i < layer.length; i++) {
    if (look.alone && heads[i] !== head) continue;
    if (look.space === 'fan' && query[i] !== of.token) continue;
    chosen.push(i);
  }
  const value = flow ? share : weight;
  chosen.sort((a, b) => value[b] - value[a]);
  const shown = chosen.slice(0, most);
  const largest = shown.length ? value[shown[0]] : 0;
  const levels = new Map(of.layers.map((number, i) => [number, i]));
  return shown.reverse().map((i) => {
    const level = levels.get(layer[i]) ?? 0;
    return {
      layer: layer[i],
      head: heads[i],
      query: query[i],
      key: key[i],
      weight: weight[i],
      share: share[i],
      // A root shows what is weak beside the strongest.
      strength: largest > 0 ? Math.sqrt(value[i] / largest) : 0,
      from: [space.x(query[i]), space.y(level + 1), space.z(heads[i])],
      to: [space.x(key[i]), space.y(level), space.z(heads[i])],
    };
  });
}

/** Where the token's state is between the layers, by rollout. */
export function staysOf(of: AttentionLinks): Stay[] {
  return of.tokens.flatMap(({ token, shares }) =>
    shares.flatMap((share, level) => (share >= LEAST_SHARE ? [{ token, level, share }] : [])),
  );
}

/** The tokens that the state comes from before the first layer, those with the most first. */
export function sourcesOf(of: AttentionLinks, most: number) {
  return of.tokens
    .map(({ token, text, shares }) => ({ token, text, share: shares[0] ?? 0 }))
    .filter((source) => source.share > 0)
    .sort((a, b) => b.share - a.share)
    .slice(0, most);
}
