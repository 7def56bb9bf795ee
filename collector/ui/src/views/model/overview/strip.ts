// The layers of a model as columns: what each holds, by component, in parameters or in bytes.
import type { Inspection, Mix } from '../types';
import { marksOf } from './facts';

export interface Column {
  stack: string;
  layer: number;
  total: number;
  parts: { component: string; value: number }[];
  /** What makes it unlike a plain layer. */
  marks: string[];
}

/** One column a layer; bytes where the mix of types is given, parameters otherwise. */
export function stripOf(model: Inspection, mix: Mix | null): Column[] {
  const layers = new Map(model.architecture.layers.map((layer) => [`${layer.stack} ${layer.index}`, layer]));
  const bytes = new Map<string, Map<string, number>>();
  for (const { role, bytes: size } of mix?.tensors ?? []) {
    if (role.layer === null) continue;
    const key = `${role.stack} ${role.layer}`;
    const of = bytes.get(key) ?? new Map<string, number>();
    of.set(role.component, (of.get(role.component) ?? 0) + (size ?? 0));
    bytes.set(key, of);
  }
  return model.parameters.by_layer.map(({ stack, layer, total, by_component }) => {
    const key = `${stack} ${layer}`;
    const known = layers.get(key);
    const parts = mix
      ? [...(bytes.get(key) ?? [])].map(([component, value]) => ({ component, value }))
      : by_component.map(({ component, total: value }) => ({ component, value }));
    return {
      stack,
      layer,
      total: mix ? parts.reduce((sum, part) => sum + part.value, 0) : total,
      parts,
      marks: known ? marksOf(known) : [],
    };
  });
}
