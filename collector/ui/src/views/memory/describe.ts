// What is said of a place on a track: the region there, those that share it, or what was never read.
import { bytesInTotal } from '../../lib/batch';
import { bytes, count, hex, shape, times, tokenText } from '../../lib/format';
import type { GraphTensor, Region, Token } from '../../lib/types';
import type { Axis } from './axis';
import { measure, type Metric, type Placed } from './cells';

export interface Hit {
  /** Bytes of the axis that were asked for. */
  from: number;
  to: number;
  /** The regions there: of the selected layer first, then the hottest. */
  regions: number[];
}

/** The regions that have a byte of `from..to`. */
export function hit(placed: Placed, from: number, to: number, metric: Metric, layer: number | null): Hit {
  const of = (i: number) => (layer === null || placed.items[i].layer === layer ? 1 : 0);
  const value = (i: number) => measure(placed.items[i], metric);
  const regions = placed.within(from, to).sort((a, b) => of(b) - of(a) || value(b) - value(a) || a - b);
  return { from, to, regions };
}

/** `token_embd.weight`, or one expert of a tensor. */
export function title(region: Region): string {
  return region.expert === null ? region.name : `${region.name} · expert ${region.expert}`;
}

/** A line of the tooltip. */
export type Fact = [label: string, value: string];

export function facts(
  region: Region,
  tensor: GraphTensor | undefined,
  token: (n: number) => Token | undefined,
  /** Tokens that the reads are of, if some are selected. */
  readers = 1,
): Fact[] {
  const found: Fact[] = [];
  if (tensor) found.push(['tensor', `${tensor.type} · ${shape(tensor.ne)}`]);
  found.push(['size', bytes(region.bytes)]);
  found.push([
    region.memory === 'DISK' ? 'offset' : 'address',
    `${hex(region.start)} … ${hex(region.start + region.bytes)}`,
  ]);
  found.push(['reads', `${times(region.accesses)}, ${bytesInTotal(region.read_bytes, readers)}`]);
  found.push(['last token', lastToken(region, token)]);
  return found;
}

function lastToken(region: Region, token: (n: number) => Token | undefined): string {
  if (region.last_token === null) return 'none';
  const text = tokenText(token(region.last_token)?.text);
  return text ? `${region.last_token} “${text}”` : String(region.last_token);
}

/** The whole of it as one sentence, for those who hear the page. */
export function sentence(hit: Hit, placed: Placed, token: (n: number) => Token | undefined, readers = 1): string {
  const region = placed.items[hit.regions[0]];
  const layer = region.layer === null ? '' : `, layer ${region.layer}`;
  const others = hit.regions.length > 1 ? `${count(hit.regions.length)} regions, hottest: ` : '';
  const said = facts(region, undefined, token, readers).map(([name, value]) => `${name} ${value}`);
  return `${others}${title(region)}${layer}, ${said.join(', ')}`;
}

export interface Gap {
  place: string;
  /** Offsets or addresses of the first byte and the byte after the last. */
  from: number;
  to: number;
  /** What the graph says is there. */
  tensor: GraphTensor | undefined;
}

/** The bytes around a position that no region has. */
export function gap(placed: Placed, axis: Axis, position: number, leaves: readonly GraphTensor[]): Gap | null {
  const at = axis.at(position);
  if (!at) return null;
  const { span, byte } = at;
  let [from, to] = [span.base, span.base + span.bytes];
  for (let i = 0; i < placed.items.length; i++) {
    if (placed.to[i] <= position) from = Math.max(from, placed.to[i]);
    if (placed.from[i] > position) {
      to = Math.min(to, placed.from[i]);
      break;
    }
  }
  const local = (p: number) => p - span.base + span.start;
  const tensor = leaves.find(
    (t) => t.file === span.place && t.offset !== undefined && t.offset <= byte && byte < t.offset + t.bytes,
  );
  return { place: span.place, from: local(from), to: local(to), tensor };
}
