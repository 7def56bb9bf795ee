import { describe, expect, it } from 'vitest';
import type { Leaf } from '../../lib/types';
import { commandLine, problems, type Info } from './answer';
import { arrange, contextsOf, ranges, usedBy } from './leaves';

const leaf = (name: string, more: Partial<Leaf> = {}): Leaf => ({
  ...{ name, type: 'f32', ne: [1, 1, 1, 1], bytes: 4, meaning: 'weight', memory: 'DISK', used_by: [], accesses: 0 },
  ...more,
});

const info = (more: Partial<Info>): Info =>
  ({ complete: true, dropped: { records: 0, bytes: 0, causes: null }, warnings: [], ...more }) as Info;

describe('the leaves', () => {
  it('are in the order that people count in, either way', () => {
    const leaves = [leaf('blk.10'), leaf('blk.2', { accesses: 3 }), leaf('a', { accesses: 1 })];
    const names = (...of: Parameters<typeof arrange>) => arrange(...of).map((l) => l.name);
    expect(names(leaves, '', 'name', false)).toEqual(['a', 'blk.2', 'blk.10']);
    expect(names(leaves, '', 'accesses', true)).toEqual(['blk.2', 'a', 'blk.10']);
  });

  it('are found by all words of a search, in any case', () => {
    const leaves = [leaf('cache_k_l0', { meaning: 'K cache', memory: 'BUFFER' }), leaf('blk.0.ffn', { type: 'q4_1' })];
    expect(arrange(leaves, 'K buffer', 'name', false).map((l) => l.name)).toEqual(['cache_k_l0']);
    expect(arrange(leaves, ' Q4_1 ', 'name', false).map((l) => l.name)).toEqual(['blk.0.ffn']);
    expect(arrange(leaves, 'nothing', 'name', false)).toEqual([]);
  });

  it('are of a context, or of several that share them', () => {
    const leaves = [leaf('c', { contexts: [0, 1] }), leaf('a', { context: 1 }), leaf('b', { context: 0 })];
    expect(leaves.map(contextsOf)).toEqual([[0, 1], [1], [0]]);
    expect(arrange(leaves, '', 'context', false).map((one) => one.name)).toEqual(['b', 'c', 'a']);
  });

  it('say who uses them, layers in runs', () => {
    expect(ranges([0, 1, 2, 5, 7, 8])).toBe('0..2, 5, 7..8');
    const used_by = [
      { op: 'ROPE', layers: [0, 1, 2], operators: 6 },
      { op: 'GET_ROWS', layers: [], operators: 1 },
    ];
    expect(usedBy(leaf('inp_pos', { used_by }))).toBe('6 ROPE in layers 0..2; GET_ROWS');
  });
});

describe('the session', () => {
  it('shows a command line that a shell would take back', () => {
    expect(commandLine(['./run', '-p', "it's <b>", '--n=1'])).toBe(`./run -p 'it'\\''s <b>' --n=1`);
  });

  it('says what is wrong and what to do, and nothing if nothing is', () => {
    expect(problems(info({}), false)).toEqual([]);
    expect(problems(info({ complete: false }), true)).toEqual([]);
    expect(problems(info({ complete: false }), false)[0].what).toContain('cut');
    const killed = {
      how: 'killed',
      unexpected: true,
      text: 'llama-server was killed by SIGKILL; it had computed nothing',
    };
    expect(problems(info({ ending: killed as Info['ending'] }), false)[0].what).toBe(`${killed.text}.`);
    expect(problems(info({ ending: { how: 'exited', code: 0, unexpected: false, text: '' } }), false)).toEqual([]);
    const causes = { full: 1200, no_ring: 0, senseless: 0 };
    const lost = problems(info({ dropped: { records: 1200, bytes: 9, causes }, warnings: ['w'] }), false);
    expect(lost[0].what).toContain('1,200 records were lost');
    expect(lost[0].help).toContain('--ring-size');
    expect(lost[1]).toEqual({ what: 'w', help: '' });
  });
});
