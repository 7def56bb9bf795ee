import { expect, it } from 'vitest';
import type { Operator } from '../../lib/types';
import { describe, memories, placeText, readText, record, startText, untimed } from './rows';

const row: Operator = {
  ...{ seq: 1, eval: 8, token: 50, token_text: ' result', n_tokens: 1, phase: 'GENERATE', node: 647 },
  ...{ op: 'MUL_MAT_ID', name: 'ffn', layer: 20, node_type: 'layer', context: 1, thread: 2, t_ns: 12_500_000 },
  dur_ns: 1253,
  read_bytes: 4308,
  dst: { type: 'f32', ne: [576, 2, 1, 1], bytes: 4608, buffer: 'CPU', addr: 4096 },
  src: [
    {
      ...{ name: 'w', type: 'q4_1', ne: [576, 64, 8, 1], bytes: 8000, read_bytes: 2000, layer: 20 },
      ...{ memory: 'DISK', file: '/models/a.gguf', offset: 0x1ac00 },
      experts: [
        { expert: 1, bytes: 1000 },
        { expert: 5, bytes: 1000 },
      ],
    },
    {
      name: 'x',
      type: 'f32',
      ne: [576, 1, 1, 1],
      bytes: 2304,
      read_bytes: 2304,
      layer: null,
      memory: 'BUFFER',
      buffer: 'CPU',
      addr: 255,
    },
    { name: 'y', type: 'f32', ne: [1, 1, 1, 1], bytes: 4, layer: null, memory: null },
  ],
};

it('says how much of a source was read, and nothing where that is not known', () => {
  expect(row.src.map(readText)).toEqual(['1.95 KiB of 7.81 KiB', '2.25 KiB', '– of 4 B']);
  expect(memories(row)).toEqual({ disk: 1, buffer: 1 });
});

it('says where sources lie', () => {
  expect(row.src.map(placeText)).toEqual(['a.gguf @ 0x1ac00', 'CPU @ 0xff', 'nowhere yet']);
});

it('says why there is no time', () => {
  expect(untimed({ ...row, dur_ns: null, fused_into: 649 }).why).toContain('node 649');
  expect(untimed({ ...row, dur_ns: null, run: { number: 3, t_ns: 0, dur_ns: 2_000_000 } }).why).toContain('(2.00 ms)');
  expect(untimed({ ...row, dur_ns: null }).text).toBe('–');
  expect(startText(row, 10_000_000)).toBe('0.002500');
});

it('is a sentence for those who hear it, and a record for a file', () => {
  expect(describe(row, 4, 1000)).toBe(
    'Row 5 of 1000: MUL_MAT_ID ffn, layer 20, token 50 ␣result, 1.25 µs, 4.21 KiB read',
  );
  expect(record(row)).toMatchObject({ token: 50, dur_ns: 1253, shape: '576 × 2', read_bytes: 4308, device: null });
});
