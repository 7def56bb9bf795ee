import { describe, expect, it } from 'vitest';
import type { ComparedRow, ComparedSession, Comparison } from '../../lib/types';
import {
  formatWhat,
  greatest,
  headline,
  nextSort,
  only,
  parseWhat,
  record,
  contextText,
  shellCommand,
  signed,
  sorted,
  total,
  withoutTimes,
} from './compare';

const side = (ns: number, count = 10) => ({ count, ns: ns * 10, ns_per_token: ns, bytes: 5 });
function row(key: string, a: number | null, b: number | null): ComparedRow {
  return {
    key,
    a: a === null ? null : side(a),
    b: b === null ? null : side(b),
    difference_ns_per_token: (b ?? 0) - (a ?? 0),
    ratio: a && b ? b / a : null,
  };
}
const session = (ns_per_token: number | null, tokens = 10): ComparedSession => ({
  ...{ trace: 'x.ggtrace', context: 0, tokens, evaluations: tokens, ns: 1, operator_ns: 1, ns_per_token },
});
const comparison = (a: ComparedSession, b: ComparedSession, rows: ComparedRow[] = []): Comparison => ({
  ...{ by: 'op', phase: 'GENERATE', a, b, rows, unmatched_a: [], unmatched_b: [] },
});
const rows = [row('blk.10', 100, 300), row('blk.9', null, 50), row('blk.2', 80, 20), row('blk.1', 40, null)];

describe('a comparison', () => {
  it('is what the address says', () => {
    for (const text of ['layer prompt sort:-ratio', 'tensor', 'generate sort:key'])
      expect(formatWhat(parseWhat(text))).toBe(text);
    expect(formatWhat(parseWhat('what ever sort:none'))).toBeNull();
    expect(parseWhat(null)).toEqual({ by: 'op', phase: 'all', sort: null, descending: false });
  });

  it('goes through three orders, names as people count, what has no number last', () => {
    const start = parseWhat(null);
    const first = nextSort(start, 'ratio');
    const second = nextSort(first, 'ratio');
    expect([first.descending, second.descending, nextSort(second, 'ratio')]).toEqual([true, false, start]);
    const keys = (text: string) =>
      sorted(rows, parseWhat(text))
        .map((r) => r.key.slice(4))
        .join(' ');
    expect(keys('')).toBe('10 9 2 1');
    expect(keys('sort:key')).toBe('1 2 9 10');
    expect(keys('sort:-ratio')).toBe('10 2 9 1');
    expect(keys('sort:a')).toBe('1 2 10 9');
    expect(keys('sort:-difference')).toBe('10 9 1 2');
    expect(rows[0].key).toBe('blk.10');
  });

  it('adds up, and says what only one of them has', () => {
    const all = total(rows);
    expect([all.a?.ns_per_token, all.b?.ns_per_token, all.difference_ns_per_token]).toEqual([220, 370, 150]);
    expect([all.a?.count, all.ratio]).toEqual([30, 370 / 220]);
    expect(rows.map(only)).toEqual([null, 'B', null, 'A']);
  });

  it('has no sum a token where there is no token', () => {
    const all = total([{ ...row('x', 1, 1), a: { ...side(1), ns_per_token: null } }, row('y', null, 1)]);
    expect([all.a?.ns_per_token, all.difference_ns_per_token, all.ratio]).toEqual([null, null, null]);
  });

  it('has no times of a side that was not timed, and no difference to it', () => {
    const [first] = withoutTimes(rows, true, false);
    expect([first.a?.ns_per_token, first.b?.ns_per_token, first.ratio]).toEqual([null, 300, null]);
    expect(first.a?.count).toBe(10);
    expect(total(withoutTimes(rows, true, false)).a?.ns).toBeNull();
    expect(withoutTimes(rows, false, false)).toBe(rows);
  });

  it('is a command that a shell takes', () => {
    const of = (trace: string, more = {}) => ({ ...session(100), trace, context: 0, ...more });
    const [a, odd] = [of('a.ggtrace'), of("b 's.ggtrace")];
    expect(shellCommand({ a, b: odd }, parseWhat('layer prompt'))).toBe(
      `ggscope diff a.ggtrace 'b '\\''s.ggtrace' --by layer --phase prompt`,
    );
    const b = of('b.ggtrace', { context: 2, other_contexts: [0] });
    expect(shellCommand({ a, b }, parseWhat(null))).toBe(
      'ggscope diff a.ggtrace b.ggtrace --by op --against-context 2',
    );
    expect([a, b].map(contextText)).toEqual(['', 'context 2, ']);
    expect(headline(comparison(session(0, 0), session(124)), 'unknown')).toBe('A has no tokens of unknown phase');
  });

  it('begins with a sentence', () => {
    expect(headline(comparison(session(100), session(124)), 'generate')).toBe(
      'B takes 1.24× the time of A a generated token',
    );
    expect(headline(comparison(session(100), session(100.1)), 'all')).toBe('A and B take the same time a token');
    expect(headline(comparison(session(100), session(null, 0)), 'prompt')).toBe('B has no prompt tokens');
    expect(headline(comparison(session(null, 0), session(null, 0)), 'generate')).toBe(
      'Neither A nor B has a generated token',
    );
    expect(greatest(rows)).toBe('most of all blk.10: +200 ns');
    expect(greatest([])).toBeNull();
  });

  it('shows differences with their sign, and saves every number', () => {
    expect([signed(1500), signed(-2_000_000), signed(0), signed(null)]).toEqual(['+1.50 µs', '−2.00 ms', '0', '–']);
    expect(record(rows[1])).toMatchObject({ key: 'blk.9', ns_per_token_a: undefined, ns_per_token_b: 50, ratio: null });
  });
});
