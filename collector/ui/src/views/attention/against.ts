// Two recordings of one prompt: how far every head looks elsewhere, and the rows of a head in both, aligned by token.
import { nameOf, Picture, UNSEEN, type Row } from './matrix';
import { held } from './palette';
import type { MapRow } from './paints';
import type { MatrixKey } from './types';
import { tokenText } from '../../lib/format';

export interface HeadDifference {
  layer: number;
  head: number;
  tokens: number;
  mean: number | null;
  max: number | null;
  worst: number | null;
  nans: number;
}

/** What the server answers about attention beside that of a reference. */
export interface AttentionAgainst {
  /** The context of this session, and that of the other, which were compared. */
  context: number;
  reference_context: number;
  reference: string;
  tokens: number;
  parted: { token: number; text: string | null; reference: string | null } | null;
  unpaired: number;
  heads: HeadDifference[];
  by_token: { token: number; reference_token: number; text: string | null; mean: number | null }[];
}

/** The head that is farthest off, to begin with. */
export function farthest(heads: readonly HeadDifference[]): HeadDifference | undefined {
  return heads.reduce<HeadDifference | undefined>(
    (most, of) => ((of.mean ?? -1) > (most?.mean ?? -1) ? of : most),
    undefined,
  );
}

const nats = (value: number | null) => (value === null ? '–' : `${value.toPrecision(3)} nats`);

/** All heads, coloured by how far they are off beside the one that is farthest. */
export function divergenceRows(found: AttentionAgainst): MapRow[] {
  const most = farthest(found.heads)?.mean ?? 0;
  const rows = new Map<number, MapRow>();
  for (const of of found.heads) {
    const row = rows.get(of.layer) ?? { layer: of.layer, cells: [] };
    rows.set(of.layer, row);
    row.cells.push({
      head: of.head,
      part: of.mean === null ? NaN : most > 0 ? of.mean / most : 0,
      said: `differs by ${nats(of.mean)}`,
      about: () => ({
        facts: [
          ['mean divergence', nats(of.mean)],
          ['largest', of.max === null ? '–' : `${nats(of.max)}, token ${of.worst}`],
          ['tokens', String(of.tokens)],
        ],
        most: null,
        bad: of.nans > 0 ? `NaN in ${of.nans} rows, which are in no mean` : null,
      }),
    });
  }
  return [...rows.values()];
}

/** Why the comparison ends before the runs do; null if it does not. */
export function partedText(parted: AttentionAgainst['parted']): string | null {
  if (!parted) return null;
  const text = (of: string | null, ended: string) => (of === null ? ended : `“${tokenText(of)}”`);
  return `The runs part at token ${parted.token}: ${text(parted.text, 'this one ends')}, and there ${text(parted.reference, 'the other ends')}.`;
}

/** The other run's tokens that were compared, each with ours: the runs number their tokens each for itself. */
export function oursOf(found: AttentionAgainst): ReadonlyMap<number, number> {
  return new Map(found.by_token.map((one) => [one.reference_token, one.token]));
}

/** The first and the last token of the other run among those that are compared with ours of a range; null if none is. */
export function theirsWithin(
  found: AttentionAgainst,
  [first, last]: readonly [number, number],
): [number, number] | null {
  const within = found.by_token.filter((one) => one.token >= first && one.token <= last);
  return within.length ? [within[0].reference_token, within.at(-1)!.reference_token] : null;
}

/** The other run's rows and keys with our numbers; rows that were not compared are left out, and such keys have no token. */
export function renumbered(theirs: Picture, ours: ReadonlyMap<number, number>): Picture {
  const named = (key: MatrixKey): MatrixKey => {
    if (key.token === null) return key;
    const own = ours.get(key.token);
    return own === undefined ? { ...key, token: null, cell: -1 - key.token } : { ...key, token: own };
  };
  const keys = theirs.keys.map(named);
  const names = new Map(theirs.keys.map((key, i) => [nameOf(key), nameOf(keys[i])]));
  const rows = theirs.rows.flatMap((row) => {
    const own = ours.get(row.token);
    return own === undefined ? [] : [{ ...row, token: own, keys: row.keys.map((name) => names.get(name) ?? name) }];
  });
  return new Picture(rows, keys);
}

/** The rows of a head that both have, with the same keys as columns, and this one's weights less the other's. */
export function beside(ours: Picture, theirs: Picture, head: number): [Picture, Picture, Picture] {
  const both = ours.rows.filter((row) => theirs.row(row.token) !== undefined);
  const others = both.map((row) => theirs.rows[theirs.row(row.token)!]);
  const known = new Set(ours.keys.map((key) => key.token));
  const keys = [...ours.keys, ...theirs.keys.filter((key) => !known.has(key.token))].filter(
    (key) => key.token !== null,
  );
  keys.sort((a, b) => a.token! - b.token!);
  const [a, b] = [new Picture(both, keys), new Picture(others, keys)];
  const [p, q] = [new Float32Array(keys.length), new Float32Array(keys.length)];
  const seen = (weight: number) => (weight === UNSEEN ? 0 : weight);
  const apart = both.map((row, r): Row => {
    const has = a.line(r, head, p) && b.line(r, head, q);
    const places = [...keys.keys()].filter((i) => has && (p[i] !== UNSEEN || q[i] !== UNSEEN));
    const weights = Float32Array.from(places, (i) => held(seen(p[i]) - seen(q[i])));
    return {
      ...row,
      keys: places.map((i) => `t${keys[i].token}`),
      weights: new Map([[head, weights]]),
      sinks: new Map(),
    };
  });
  return [a, b, new Picture(apart, keys)];
}
