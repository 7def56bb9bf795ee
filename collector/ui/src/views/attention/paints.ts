// What the map of all heads can be coloured by: each measure as a part of one, with its words.
import type { HeadSummary, LayerSummary } from './types';
import type { Look } from './look';

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
