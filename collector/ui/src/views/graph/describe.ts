// A node in words: for the pointer's note, for the lists, for those who listen to the page.
import { bytesInTotal, timeInTotal } from '../../lib/batch';
import { bytes, count, fileName, hex, shape } from '../../lib/format';
import type { Model } from './model';
import { measureText, parameters, type Values } from './measures';
import type { VisibleNode } from './visible';

export interface Description {
  title: string;
  /** Name and value. */
  facts: [string, string][];
}

export interface Known {
  time: Values;
  read: Values;
  /** How many evaluations the sums are over; null if nothing has come yet. */
  over: string | null;
  /** Tokens of those evaluations. */
  tokens: number;
}

export function describe(model: Model, node: VisibleNode, known: Known): Description {
  if (node.kind === 'group' || node.kind === 'frame') {
    const group = model.groups[node.of];
    const facts: [string, string][] = [
      ['nodes', count(group.operators)],
      ['leaves', count(group.leaves)],
    ];
    addCosts(facts, known.time.groups[node.of], known.read.groups[node.of], known);
    return { title: group.title, facts };
  }
  const t = model.tensors[node.of];
  const facts: [string, string][] = [];
  if (t.leaf) facts.push(['leaf', t.meaning ?? '']);
  else facts.push(['operator', t.computed ? t.op : `${t.op}, not computed`]);
  if (t.layer !== null) facts.push(['layer', String(t.layer)]);
  facts.push(['shape', shape(t.ne)], ['type', t.type], ['size', bytes(t.bytes)]);
  const weights = parameters(model, node.of);
  if (weights) facts.push(['parameters', measureText('parameters', weights)]);
  if (!t.leaf) addCosts(facts, known.time.tensors[node.of], known.read.tensors[node.of], known);
  if (t.file !== undefined) facts.push(['DISK', `${fileName(t.file)} @ ${hex(t.offset)}`]);
  if (t.buffer !== undefined) facts.push(['BUFFER', t.buffer]);
  if (node.category === 'input') facts.push(['category', 'input from another layer']);
  else if (node.category === 'output') facts.push(['category', 'output to another layer']);
  else if (node.category === 'infrastructure') facts.push(['category', 'shared infrastructure']);
  return { title: t.name.trim() || `#${t.id}`, facts };
}

function addCosts(facts: [string, string][], ns: number, read: number, { over, tokens }: Known) {
  if (over === null || (ns <= 0 && read <= 0)) return;
  if (ns > 0) facts.push(['time', timeInTotal(ns, tokens)]);
  if (read > 0) facts.push(['read', bytesInTotal(read, tokens)]);
  facts.push(['of', over]);
}

/** In one line. */
export function inWords({ title, facts }: Description): string {
  return [title, ...facts.map(([name, value]) => `${name} ${value}`)].join(', ');
}
