// Which part of a layer an operator belongs to, by the names that llama.cpp gives to the nodes of its graphs.

export const BLOCKS = ['attention', 'feed-forward', 'norm', 'other'] as const;
export type Block = (typeof BLOCKS)[number];

/** Attention's own names: the parts of Q, K and V, their products, the cache. Their norms are part of it. */
const ATTENTION = /^([qkv](cur|pe|norm|_|$)|qkv|kqv|kq(_|$)|wqkv|k_?cache|v_?cache|cache_[kv]|rope|attn)/;
const FEED_FORWARD = /(^|_)(ffn|mlp|moe|shexp|experts?|swiglu|geglu|reglu)/;
const NORM = /(^|_)norm(ed)?(_|$)/;

const OPS: Record<string, Block> = {
  FLASH_ATTN_EXT: 'attention',
  SOFT_MAX: 'attention',
  ROPE: 'attention',
  MUL_MAT_ID: 'feed-forward',
  SWIGLU: 'feed-forward',
  GEGLU: 'feed-forward',
  REGLU: 'feed-forward',
  GLU: 'feed-forward',
  RMS_NORM: 'norm',
  NORM: 'norm',
  L2_NORM: 'norm',
  GROUP_NORM: 'norm',
};

/** `ffn_up-3 (view)` without the layer and without what ggml adds: `ffn_up`. */
export function baseName(name: string): string {
  return name.replace(/( \([^)]*\))+$/, '').replace(/-\d+$/, '');
}

/** The part of its layer that a node computes. */
export function blockOf(name: string, op: string): Block {
  const base = baseName(name).toLowerCase();
  // The sum that feed-forward begins with ends attention: it belongs to neither.
  if (base === 'ffn_inp' || base === 'l_out') return 'other';
  if (/^(attn|ffn|layer|result)?(_(pre|post|out|inp|sub|q_a|kv_a))*_?norm(_\d+)?$/.test(base)) return 'norm';
  if (ATTENTION.test(base)) return NORM.test(base) && base.startsWith('attn') ? 'norm' : 'attention';
  if (FEED_FORWARD.test(base)) return NORM.test(base) && !base.includes('moe') ? 'norm' : 'feed-forward';
  if (NORM.test(base)) return 'norm';
  return OPS[op] ?? 'other';
}
