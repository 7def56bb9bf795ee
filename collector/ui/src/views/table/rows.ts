// What a row of the table says, in words and as a record of a file.
import { batchText, bytesInTotal, timeInTotal } from '../../lib/batch';
import { bytes, fileName, hex, shape, time } from '../../lib/format';
import { shownText } from '../../lib/shownText';
import type { Cell } from '../../lib/save';
import type { Operator, Source } from '../../lib/types';

/** What was read of a source, of how much: `1.13 KiB of 28.7 MiB`. */
export function readText(source: Source): string {
  const read = bytes(source.read_bytes);
  return source.read_bytes === source.bytes ? read : `${read} of ${bytes(source.bytes)}`;
}

/** How many of an execution's sources lie on DISK and in a BUFFER. */
export function memories(row: Operator): { disk: number; buffer: number } {
  const disk = row.src.filter((source) => source.memory === 'DISK').length;
  return { disk, buffer: row.src.filter((source) => source.memory === 'BUFFER').length };
}

/** Where a source lies: `model.gguf @ 0x1ac00`. */
export function placeText(source: Source): string {
  if (source.memory === 'DISK') return `${fileName(source.file ?? '?')} @ ${hex(source.offset)}`;
  if (source.memory === 'BUFFER') return `${source.buffer ?? '?'} @ ${hex(source.addr)}`;
  return 'nowhere yet';
}

/** Seconds since the session's first evaluation, to the microsecond. */
export function startText(row: Operator, firstNs: number): string {
  return ((row.t_ns - firstNs) / 1e9).toFixed(6);
}

/** What the column of the duration says where there is none, and why. */
export function untimed(row: Operator): { text: string; why: string } {
  if (row.fused_into !== undefined)
    return { text: `in #${row.fused_into}`, why: `computed in one go with node ${row.fused_into}, which has the time` };
  if (row.run)
    return {
      text: `whole run ${row.run.number}`,
      why: `no time of its own: only run ${row.run.number} of the evaluation was timed as a whole (${time(row.run.dur_ns)})`,
    };
  return { text: '–', why: 'its time is not known' };
}

/** The row in a sentence, for those who hear it. */
export function describe(row: Operator, index: number, total: number): string {
  const of = [
    row.layer === null ? null : `layer ${row.layer}`,
    row.token === null ? null : `token ${row.token} ${shownText(row.token, row.token_text)}`.trim(),
    batchText({ evaluations: 1, tokens: row.n_tokens }) || null,
    row.dur_ns === null ? untimed(row).why : timeInTotal(row.dur_ns, row.n_tokens),
    `${bytesInTotal(row.read_bytes, row.n_tokens)} read`,
  ].filter((part) => part !== null);
  return `Row ${index + 1} of ${total}: ${row.op} ${row.name || `node ${row.node}`}, ${of.join(', ')}`;
}

/** The row as one of a CSV file. */
export function record(row: Operator): Record<string, Cell> {
  return {
    token: row.token,
    token_text: row.token_text ?? null,
    n_tokens: row.n_tokens,
    phase: row.phase,
    eval: row.eval,
    layer: row.layer,
    op: row.op,
    name: row.name,
    node: row.node,
    t_ns: row.t_ns,
    dur_ns: row.dur_ns,
    fused_into: row.fused_into ?? null,
    type: row.dst.type,
    shape: shape(row.dst.ne),
    bytes: row.dst.bytes,
    read_bytes: row.read_bytes ?? null,
    device: row.device ?? null,
    experts: row.experts?.join(' ') ?? null,
    sources: row.src.map((source) => `${source.name} [${source.memory ?? 'NOWHERE'} ${placeText(source)}]`).join('; '),
  };
}
