// Rows of tokens × keys as they come, and the picture of those that belong together. A picture has a row for each token
// and a column for each key, both in the order of the text.
import type { AttentionMatrix, MatrixKey, Refused } from './types';

/** In place of a weight: the mask hides the key, or it was not there yet. NaN is a weight that is NaN. */
export const UNSEEN = -1;

export interface Row {
  token: number;
  text: string | null;
  pos: number | null;
  /** What the token saw: names of keys, see {@link nameOf}. */
  keys: string[];
  /** By head: a weight for each key; only of heads that were asked for. */
  weights: Map<number, Float32Array>;
  /** By head: what its sink took. */
  sinks: Map<number, number>;
}

/** What a key is known by while rows come and go. */
export function nameOf(key: { token: number | null; cell: number | null }): string {
  return key.token === null ? `c${key.cell}` : `t${key.token}`;
}

/** Rows of one layer. Never changes: {@link Matrix.with} makes another. */
export class Matrix {
  constructor(
    readonly layer: number,
    readonly nHead: number,
    readonly nHeadKv: number,
    readonly keys: ReadonlyMap<string, MatrixKey>,
    readonly rows: ReadonlyMap<number, Row>,
    /** Why some tokens that were asked for have no row. */
    readonly refused: readonly Refused[],
    /** Those tokens. */
    private readonly without: ReadonlySet<number>,
  ) {}

  /** The answer about tokens from `asked[0]` to `asked[1]`. */
  static from(answer: AttentionMatrix, asked: readonly [number, number]): Matrix {
    const none = new Matrix(answer.layer, answer.n_head, answer.n_head_kv, new Map(), new Map(), [], new Set());
    return none.with(answer, asked);
  }

  /** These rows too; those before token `first` are let go. */
  with(answer: AttentionMatrix, asked: readonly [number, number], first = 0): Matrix {
    const names = answer.keys.map(nameOf);
    const keys = new Map(this.keys);
    answer.keys.forEach((key, i) => keys.set(names[i], key));
    const rows = new Map([...this.rows].filter(([token]) => token >= first));
    answer.rows.forEach((row, r) => {
      const seen = row.spans.flatMap(({ first, n }) => names.slice(first, first + n));
      const known = rows.get(row.token);
      const weights = new Map(known?.weights);
      const sinks = new Map(known?.sinks);
      for (const head of answer.heads) {
        weights.set(
          head.head,
          Float32Array.from(head.weights[r], (weight) => weight ?? NaN),
        );
        if (head.sinks.length) sinks.set(head.head, head.sinks[r] ?? NaN);
      }
      rows.set(row.token, { token: row.token, text: row.text, pos: row.pos, keys: seen, weights, sinks });
    });
    const without = new Set([...this.without].filter((token) => token >= first));
    for (let token = asked[0]; token <= asked[1]; token++) if (!rows.has(token)) without.add(token);
    const refused = [...this.refused];
    for (const one of answer.refused) {
      const known = refused.findIndex((other) => other.why === one.why);
      if (known < 0) refused.push(one);
      else refused[known] = { ...one, tokens: refused[known].tokens + one.tokens };
    }
    const [nHead, nHeadKv] = [answer.n_head || this.nHead, answer.n_head_kv || this.nHeadKv];
    return new Matrix(answer.layer, nHead, nHeadKv, keys, rows, without.size ? refused : [], without);
  }

  /** Tokens from `first` to `last` that were not asked for yet, as one run; null if none is missing. */
  missing(first: number, last: number, head: number | null): [number, number] | null {
    const has = (token: number) => {
      const row = this.rows.get(token);
      return row ? head === null || row.weights.has(head) : this.without.has(token);
    };
    let [from, to] = [first, last];
    while (from <= to && has(from)) from++;
    while (to >= from && has(to)) to--;
    return from <= to ? [from, to] : null;
  }

  /**
   * The rows from `first` to `last` of the text that `token` belongs to. Other sequences of the same run, earlier
   * requests that had the same beginning, and warm-ups are left out.
   */
  picture(first: number, last: number, token: number): Picture {
    const text = this.rows.has(token) ? this.textOf(token) : null;
    const within = (row: Row) => row.token >= first && row.token <= last && (text === null || text.has(row.token));
    const rows = [...this.rows.values()].filter(within).sort((a, b) => a.token - b.token);
    const names = new Set(rows.flatMap((row) => row.keys));
    const keys = [...names].map((name) => this.keys.get(name)!);
    // As the server has them: first those whose tokens are not known.
    const order = (key: MatrixKey) => key.token ?? (key.cell ?? 0) - 1e12;
    keys.sort((a, b) => order(a) - order(b));
    return new Picture(rows, keys);
  }

  /**
   * The tokens of the text that `token` belongs to, as far as they have rows: what it sees, what those see in turn (a
   * window hides the beginning), and later tokens that see it or each other.
   */
  private textOf(token: number): Set<number> {
    const ordered = [...this.rows.values()].sort((a, b) => a.token - b.token);
    const seen = new Set([`t${token}`]);
    for (const row of ordered.filter((row) => row.token <= token).reverse()) {
      if (seen.has(`t${row.token}`)) row.keys.forEach((key) => seen.add(key));
    }
    const later = new Set([`t${token}`]);
    for (const row of ordered.filter((row) => row.token > token)) {
      if (seen.has(`t${row.token}`) || row.keys.some((key) => later.has(key))) later.add(`t${row.token}`);
    }
    return new Set(ordered.map((row) => row.token).filter((n) => seen.has(`t${n}`) || later.has(`t${n}`)));
  }
}

export class Picture {
  private readonly columns: ReadonlyMap<string, number>;
  private readonly places: Int32Array[];
  private readonly byToken: ReadonlyMap<number, number>;

  constructor(
    readonly rows: readonly Row[],
    readonly keys: readonly MatrixKey[],
  ) {
    this.columns = new Map(keys.map((key, i) => [nameOf(key), i]));
    this.places = rows.map((row) => Int32Array.from(row.keys, (name) => this.columns.get(name) ?? -1));
    this.byToken = new Map(rows.map((row, i) => [row.token, i]));
  }

  /** The place of a token among the rows. */
  row(token: number | null): number | undefined {
    return token === null ? undefined : this.byToken.get(token);
  }

  /** The place of a token among the columns. */
  column(token: number | null): number | undefined {
    return token === null ? undefined : this.columns.get(`t${token}`);
  }

  /** A row's weights, a number for each column, into `out`; returns whether the row has any. */
  line(row: number, head: number, out: Float32Array): boolean {
    out.fill(UNSEEN);
    const weights = this.rows[row]?.weights.get(head);
    if (!weights) return false;
    const places = this.places[row];
    for (let i = 0; i < places.length; i++) out[places[i]] = weights[i];
    return true;
  }

  /** A weight; {@link UNSEEN} if the token does not see the key. */
  weight(row: number, column: number, head: number): number {
    const at = this.places[row]?.indexOf(column) ?? -1;
    return at < 0 ? UNSEEN : (this.rows[row].weights.get(head)?.[at] ?? UNSEEN);
  }
}

/** Which tokens the heatmap is of: `span` of them at the most, with `token`, as late as can be. */
export function windowOf(
  token: number,
  last: number,
  span: number,
  chosen: readonly [number, number] | null,
): [number, number] {
  if (chosen && chosen[1] > chosen[0]) return [chosen[0], Math.min(chosen[1], last, chosen[0] + span - 1)];
  // A token in the middle of a long run has some of what comes after it below it.
  const end = Math.min(last, Math.max(token + Math.floor(span / 4), span - 1));
  return [Math.max(0, end - span + 1), end];
}
