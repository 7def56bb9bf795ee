// The mix of types as a map: a row for each part of a layer, a column for each layer.
import { viridis } from '../../../lib/colors';
import type { Mix, TensorMix } from '../types';

export interface Row {
  part: string;
  /** One entry a column: the tensors there, and their bits per weight together. */
  cells: ({ tensors: TensorMix[]; type: string; bits: number } | null)[];
}

export interface MixTable {
  columns: { stack: string; layer: number | null }[];
  rows: Row[];
}

/** Bits per weight as a colour: few are dark, 16 and more are bright. */
export function typeColour(bits: number): string {
  const place = (Math.log2(Math.min(16, Math.max(1.5, bits))) - Math.log2(1.5)) / (4 - Math.log2(1.5));
  return `rgb(${viridis(0.08 + 0.9 * place).join(',')})`;
}

/** All layers; what is in none is in the first column. */
export function mixTable(mix: Mix): MixTable {
  const columns: MixTable['columns'] = mix.layers.map(({ stack, layer }) => ({ stack, layer }));
  const at = new Map(columns.map(({ stack, layer }, i) => [`${stack} ${layer}`, i]));
  const rows = new Map<string, Row>();
  for (const tensor of mix.tensors) {
    const { role, type, bytes, elements } = tensor;
    const column = at.get(`${role.stack} ${role.layer}`) ?? at.get(`model ${role.layer}`);
    if (column === undefined) continue;
    const part = role.kind === 'weight' ? role.part : `${role.part} ${role.kind}`;
    let row = rows.get(part);
    if (!row) rows.set(part, (row = { part, cells: columns.map(() => null) }));
    const cell = row.cells[column];
    if (!cell) {
      row.cells[column] = { tensors: [tensor], type, bits: (8 * (bytes ?? 0)) / Math.max(1, elements) };
      continue;
    }
    // Experts that are tensors of their own are one cell together.
    cell.tensors.push(tensor);
    const sum = (pick: (t: TensorMix) => number) => cell.tensors.reduce((all, t) => all + pick(t), 0);
    cell.bits =
      (8 * sum((t) => t.bytes ?? 0)) /
      Math.max(
        1,
        sum((t) => t.elements),
      );
    if (cell.type !== type) cell.type = 'mixed';
  }
  // The largest parts first: they are what the size of the file is made of.
  const size = (row: Row) =>
    row.cells.reduce((all, cell) => all + (cell?.tensors.reduce((n, t) => n + (t.bytes ?? 0), 0) ?? 0), 0);
  return { columns, rows: [...rows.values()].sort((a, b) => size(b) - size(a)) };
}
