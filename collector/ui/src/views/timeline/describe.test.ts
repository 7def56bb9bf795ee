import { describe as group, expect, it } from 'vitest';
import { SessionData } from '../../lib/data.svelte';
import type { GraphPart, GraphTensor } from '../../lib/types';
import { describe, describeTokens, sentence } from './describe';
import { flameOf } from './flame';
import { timeline } from './testing';

const session = new SessionData('0');
Object.assign(
  session.timeline,
  timeline([{ n_tokens: 3, dur_ns: 3e6 }, { dur_ns: 2e6, minor_faults: 1200 }, { status: 1 }]),
);
[' The', '\n', '<b>'].forEach((text, number) =>
  session.tokens.set(number, { number, id: number, text, phase: 'PROMPT' }),
);
session.tokens.set(3, { number: 3, id: 42, text: ' sky', phase: 'GENERATE' });

const said = (hit: Parameters<typeof describe>[0]) => sentence(describe(hit, session)!);

group('what is said of an evaluation', () => {
  it('is the token, its text, phase, time, operators, bytes and faults', () => {
    const text = said({ kind: 'evaluation', seq: 1, token: null });
    for (const part of [
      'token 3',
      '␣sky',
      'id 42',
      'GENERATE',
      '2.00 ms',
      'operators 5',
      'DISK read 0 B',
      'minor faults 1,200',
    ]) {
      expect(text).toContain(part);
    }
  });

  it('is the range and the texts of a prompt, with the time for each token', () => {
    const text = said({ kind: 'evaluation', seq: 0, token: null });
    const time = 'in a batch of 3, time 3.00 ms in total, 1.00 ms per token (1/3)';
    for (const part of ['tokens 0..2', '␣The ⏎ <b>', 'PROMPT', time, 'operators 5 in total, 1.67 per token (1/3)'])
      expect(text).toContain(part);
    const one = said({ kind: 'evaluation', seq: 0, token: 1 });
    expect(one).toContain('token 1, ');
    expect(one).toContain(time);
  });

  it('says when it did not end well', () => {
    expect(said({ kind: 'evaluation', seq: 2, token: null })).toContain('status 1');
  });
});

group('what is said of an operator', () => {
  const tensor = (id: number, name: string, op: string) =>
    ({ id, name, op, layer: 3, node_type: 'layer' }) as GraphTensor;
  const tensors = [tensor(0, 'norm-3', 'RMS_NORM'), tensor(1, 'attn_norm-3', 'MUL'), tensor(2, 'Qcur-3', 'MUL_MAT')];
  const graph = { graph: 0, tensors, edges: [] as GraphPart['edges'] } as GraphPart;
  const flame = flameOf(
    {
      ...{ eval: 0, seq: 0, graph: 0, t_ns: 0, dur_ns: 1000, node: [0, 1, 2], start: [0, 0, 400] },
      ...{ dur: [null, 400, null], fused_into: [1, null, null] },
    },
    graph,
  );

  it('is its time, its share and what was computed in one go with it', () => {
    const text = said({ kind: 'operator', flame, part: flame.operators[0] });
    for (const part of [
      'attn_norm-3',
      'MUL',
      '3 · norm',
      '400 ns in total, 133 ns per token (1/3)',
      '40.0 %',
      'in one go with norm-3 (RMS_NORM)',
    ]) {
      expect(text).toContain(part);
    }
  });

  it('is that its time is not known where it is not', () => {
    expect(said({ kind: 'unknown', flame, part: flame.unknown[0] })).toMatch(/1 operators.*within 600 ns.*not known/);
  });

  it('of a layer is the sum of its operators', () => {
    expect(said({ kind: 'layer', flame, part: flame.layers[0] })).toMatch(
      /layer 3.*400 ns in total.*operators 1 in total/,
    );
  });
});

it('says in one line what is selected', () => {
  expect(describeTokens(null, session)).toBe('5 tokens, none selected');
  expect(describeTokens([3, 3], session)).toContain('token 3, text ␣sky');
  expect(describeTokens([0, 2], session)).toContain('tokens 0..2');
  expect(describeTokens([1, 3], session)).toBe('tokens 1..3 selected, 3 of 5');
  expect(describeTokens([77, 80], session)).toBe('tokens 77..80: not here');
});
