// What the map of all heads can be coloured by: each measure as a part of one, with its words.
import type { Look } from './look';
import type { AttentionMap, HeadSummary, LayerSummary } from './types';
import { tokenName } from './words';

/** A head in a map of all. */
export interface MapCell {
  head: number;
  /** The colour, as a part of one; NaN if there is no number. */
  part: number;
  /** In words, beside the numbers of layer and head. */
  said: string;
  /** What a note says of it. */
  about: () => { facts: [string, string][]; most: string | null; bad: string | null };
}

export interface MapRow {
  layer: number;
  cells: MapCell[];
}

interface Paint {
  title: string;
  /** As a part of one; NaN if there is no such number. */
  part: (head: HeadSummary, layer: LayerSummary) => number;
  text: (head: HeadSummary) => string;
}

const weight = (value: number | null | undefined) => value ?? NaN;
const digits = (value: number | null | undefined) => (value === null || value === undefined ? '–' : value.toFixed(3));

export const PAINT: Record<Look['paint'], Paint> = {
  entropy: {
    title: 'entropy',
    part: (head, layer) => (head.entropy === null ? NaN : layer.keys > 1 ? head.entropy / Math.log2(layer.keys) : 0),
    text: (head) => (head.entropy === null ? '–' : `${head.entropy.toFixed(2)} bits`),
  },
  first: { title: 'weight on the first token', part: (head) => weight(head.first), text: (head) => digits(head.first) },
  previous: {
    title: 'weight on the token before',
    part: (head) => weight(head.previous),
    text: (head) => digits(head.previous),
  },
  self: { title: 'weight on itself', part: (head) => weight(head.self), text: (head) => digits(head.self) },
  heaviest: {
    title: 'heaviest weight',
    part: (head) => weight(head.heaviest?.weight),
    text: (head) => digits(head.heaviest?.weight),
  },
};

/** All heads at one token, coloured by a measure. */
export function mapRows(map: AttentionMap, paint: Look['paint']): MapRow[] {
  const about = (head: HeadSummary) => () => {
    const facts = Object.values(PAINT).map((of): [string, string] => [of.title, of.text(head)]);
    if (head.sink !== null) facts.push(['its sink', head.sink.toFixed(3)]);
    const most = head.heaviest && tokenName(head.heaviest);
    return { facts, most, bad: head.entropy === null ? 'its weights are NaN' : null };
  };
  return map.layers.map((layer) => ({
    layer: layer.layer,
    cells: layer.heads.map((head) => ({
      head: head.head,
      part: PAINT[paint].part(head, layer),
      said: `${PAINT[paint].title} ${PAINT[paint].text(head)}`,
      about: about(head),
    })),
  }));
}
