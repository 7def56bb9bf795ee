import { describe, expect, it } from 'vitest';
import { baseName, blockOf, type Block } from './blocks';

describe('the block of a node', () => {
  const expected: Record<Block, [string, string][]> = {
    attention: [
      ['Qcur-3', 'MUL_MAT'],
      ['Qcur-3', 'ROPE'],
      ['Kcur_normed-3', 'MUL'],
      ['cache_k_l0 (view)', 'SET_ROWS'],
      ['cache_v_l29 (view) (permuted)', 'PERMUTE'],
      ['kqv_out-3', 'CONT'],
      ['kq-3', 'MUL_MAT'],
      ['kq_soft_max-3', 'SOFT_MAX'],
      ['attn_out-28', 'MUL_MAT'],
      ['wqkv-3', 'MUL_MAT'],
      ['node_24', 'FLASH_ATTN_EXT'],
    ],
    'feed-forward': [
      ['ffn_gate-0', 'MUL_MAT'],
      ['ffn_swiglu-0', 'SWIGLU'],
      ['ffn_out-0', 'MUL_MAT'],
      ['ffn_moe_topk-5', 'VIEW'],
      ['ffn_moe_weights_norm-5', 'DIV'],
      ['ffn_shexp-5', 'MUL_MAT'],
      ['node_7', 'MUL_MAT_ID'],
    ],
    norm: [
      ['norm-0', 'RMS_NORM'],
      ['attn_norm-12', 'MUL'],
      ['ffn_norm-3', 'MUL'],
      ['attn_post_norm-3', 'MUL'],
      ['ffn_post_norm-3', 'MUL'],
      ['result_norm', 'MUL'],
      ['node_9', 'RMS_NORM'],
    ],
    other: [
      ['inp_embd', 'GET_ROWS'],
      ['embd', 'GET_ROWS'],
      ['ffn_inp-0', 'ADD'],
      ['l_out-3', 'ADD'],
      ['result_output', 'MUL_MAT'],
      ['node_926', 'GET_ROWS'],
      ['', 'ADD'],
    ],
  };

  it.each(Object.entries(expected))('is %s for the names of llama.cpp', (block, nodes) => {
    expect(nodes.filter(([name, op]) => blockOf(name, op) !== block)).toEqual([]);
  });
});

it('strips the layer and what ggml adds from a name', () => {
  expect(['ffn_up-3', 'Kcur-0 (view)', 'cache_k_l0 (view) (permuted)', 'embd'].map(baseName)).toEqual([
    'ffn_up',
    'Kcur',
    'cache_k_l0',
    'embd',
  ]);
});
