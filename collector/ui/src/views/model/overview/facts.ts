// The facts of a model as lines: what every model has, and what only some have.
import { bytes, count } from '../../../lib/format';
import type { Architecture, Attention, Inspection, Layer } from '../types';
import { attentionName, bits, parameters, tokens } from '../words';

export interface Fact {
  name: string;
  value: string;
  /** More of it, smaller. */
  more?: string;
}

/** A number that layers have in common, or from the least to the most. */
export function span(values: number[]): string {
  if (!values.length) return '–';
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return least === most ? count(least) : `${count(least)} to ${count(most)}`;
}

/** Layers with attention, and the attention of the first of them that is the most common. */
export function attentionOf(architecture: Architecture): { attention: Attention; layers: number } | null {
  const known = new Map<string, { attention: Attention; layers: number }>();
  for (const { attention } of architecture.layers) {
    if (!attention) continue;
    const key = `${attention.kind} ${attention.heads} ${attention.kv_heads}`;
    const of = known.get(key);
    if (of) of.layers++;
    else known.set(key, { attention, layers: 1 });
  }
  return [...known.values()].sort((a, b) => b.layers - a.layers)[0] ?? null;
}

/** What a layer is besides plain: what the strip of layers marks. */
export function marksOf(layer: Layer): string[] {
  const marks: string[] = [];
  const { attention, feed_forward: ff } = layer;
  if (attention?.window) marks.push(`window of ${count(attention.window)}`);
  if (layer.state) marks.push(layer.state.replaceAll('_', ' '));
  if (ff?.experts) marks.push(`${ff.experts.used} of ${ff.experts.count} experts`);
  if (layer.cross_attention) marks.push('cross-attention');
  if (layer.next_token) marks.push('next-token prediction');
  if (attention && typeof attention.cache === 'object') marks.push(`keys of layer ${attention.cache.layer}`);
  if (!attention && !layer.state) marks.push('no attention');
  return marks;
}

/** The large numbers. */
export function headlines(model: Inspection): Fact[] {
  const { architecture: a, parameters: p, memory, files } = model;
  const active =
    Math.abs(p.active - p.total) > 0.005 * p.total ? `${parameters(p.active)} active a token` : count(p.total);
  return [
    { name: 'parameters', value: parameters(p.total), more: active },
    { name: 'layers', value: count(a.layers.length), more: a.loops > 1 ? `run ${a.loops} times` : undefined },
    { name: 'hidden size', value: count(a.hidden) },
    {
      name: 'context',
      value: a.context ? tokens(a.context) : '–',
      more: a.context ? `${count(a.context)} tokens` : undefined,
    },
    { name: 'vocabulary', value: count(a.vocabulary), more: model.tokenizer ? model.tokenizer.model : undefined },
    {
      name: 'size',
      value: bytes(files.bytes),
      more: files.paths.length > 1 ? `${files.paths.length} files` : undefined,
    },
    { name: 'bits per weight', value: bits(memory.weights.bits_per_weight) },
  ];
}

/** The rest, in words. */
export function details(model: Inspection): Fact[] {
  const { architecture: a, tokenizer, files } = model;
  const facts: Fact[] = [];
  const put = (name: string, value: string | null | undefined) => value && facts.push({ name, value });
  const layers = a.layers;
  const ff = layers.flatMap((l) => (l.feed_forward && l.feed_forward.size > 0 ? [l.feed_forward.size] : []));
  if (ff.length) {
    const gated = layers.some((l) => l.feed_forward?.gated);
    put('feed-forward', `${span(ff)}${gated ? ', gated' : ''}`);
  }
  const moe = layers.flatMap((l) => (l.feed_forward?.experts ? [l.feed_forward.experts] : []));
  if (moe.length) {
    const shared = moe[0].shared_size ? `, shared ${count(moe[0].shared_size)}` : '';
    put(
      'experts',
      `${span(moe.map((e) => e.used))} of ${span(moe.map((e) => e.count))}, size ${span(moe.map((e) => e.size))}${shared}, in ${moe.length} of ${layers.length} layers`,
    );
  }
  const windows = layers.flatMap((l) => (l.attention?.window ? [l.attention.window] : []));
  if (windows.length)
    put(
      'sliding window',
      `${span(windows)} tokens in ${windows.length} of ${layers.length} layers${a.window_kind ? `, ${a.window_kind}` : ''}`,
    );
  const states = layers.filter((l) => l.state);
  if (states.length)
    put('recurrent', `${states[0].state!.replaceAll('_', ' ')} in ${states.length} of ${layers.length} layers`);
  if (a.latent) put('latent attention', `queries ${count(a.latent[0])}, keys and values ${count(a.latent[1])}`);
  if (a.rope) {
    const { rope } = a;
    const scaled = rope.scaling !== 'none' ? `, ${rope.scaling}${rope.factor ? ` × ${rope.factor}` : ''}` : '';
    put('rotary positions', `${rope.style}, ${rope.dimensions} dimensions, base ${count(rope.base)}${scaled}`);
  }
  put('norms', [...new Set(a.norms)].join(', ') + (a.layer_norms.length ? `: ${a.layer_norms.join(', ')}` : ''));
  put('embeddings', a.tied_embeddings ? 'tied: the output uses them too' : 'output has its own matrix');
  put('attention', layers.some((l) => l.attention) ? (a.causal ? 'causal' : 'sees all tokens') : null);
  put('pooling', a.pooling === 'none' ? null : a.pooling);
  if (tokenizer) {
    put(
      'tokenizer',
      `${tokenizer.model}${tokenizer.pre ? `, ${tokenizer.pre}` : ''}, ${count(tokenizer.merges)} merges`,
    );
    put('special tokens', tokenizer.special.map((t) => `${t.name} ${t.text ?? `#${t.id}`}`).join(' · '));
    put('chat template', tokenizer.chat_template_bytes ? bytes(tokenizer.chat_template_bytes) : 'none');
  }
  put(
    'file',
    `GGUF ${files.version}, ${count(files.tensors)} tensors, ${count(files.keys)} keys, header ${bytes(files.header_bytes)}, aligned to ${files.alignment}`,
  );
  return facts;
}

/** The attention in a sentence: `grouped-query attention: 9 query heads share 3 key and value heads`. */
export function attentionText({ kind, heads, kv_heads }: Attention): string {
  const name = attentionName(kind);
  if (kind === 'mla') return `${name}: ${count(heads)} heads read one compressed vector of keys and values`;
  if (heads === kv_heads) return `${name}: ${count(heads)} heads, each with its own keys and values`;
  return `${name}: ${count(heads)} query heads share ${count(kv_heads)} key and value ${kv_heads === 1 ? 'head' : 'heads'}`;
}
