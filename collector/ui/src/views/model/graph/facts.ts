// What is known of a part of the model, in words and numbers.
import { bytes, count, percent, time, times } from '../../../lib/format';
import type { ArchNode, GraphReport, Measured, WeightCost } from '../types';
import { bits, kindName, metric, parameters, small } from '../words';
import { gathered, nodesIn, type ArchTree } from './groups';
import { measuredOf } from './values';

export type Fact = [name: string, value: string, more?: string];

/** How many nodes have parts of the same tensors. */
export function sharers(nodes: readonly ArchNode[], node: ArchNode): number {
  const [first] = node.tensors;
  if (!first || first.whole) return 1;
  return nodes.filter((other) => other.tensors.some((share) => share.tensor === first.tensor)).length;
}

export function sizeFacts(tree: ArchTree, i: number): Fact[] {
  const { nodes } = tree.graph;
  const node = nodes[i];
  if (!node.parameters) return [['parameters', 'none of its own']];
  const all = nodes.reduce((sum, other, at) => sum + (tree.home[at] < 0 ? other.parameters : 0), 0);
  return [
    [
      'parameters',
      parameters(node.parameters),
      `${count(node.parameters)}, ${percent(node.parameters / all)} of the model`,
    ],
    ['bytes', bytes(node.bytes), `${bits((8 * node.bytes) / node.parameters)} bits per weight`],
  ];
}

/** Whose numbers these are, where they are of several together. */
export function together(tree: ArchTree, node: ArchNode, measured: Measured): string | null {
  if (measured.alone) return null;
  const n = sharers(tree.graph.nodes, node);
  return `of all ${n} ${kindName(node.kind)}s together: they share tensors`;
}

export function runFacts(tree: ArchTree, i: number, costs: ReadonlyMap<string, WeightCost>): Fact[] {
  const node = tree.graph.nodes[i];
  const of = tree.as[i] >= 0 ? measuredOf(tree, nodesIn(tree, tree.as[i]), costs) : (node.measured ?? null);
  if (!of) return [];
  const facts: Fact[] = [
    ['time', of.ns === null ? 'no time of its own' : time(of.ns), of.ns ? 'of operators that read it' : undefined],
    ['accesses', times(of.accesses)],
    ['bytes read', bytes(of.read_bytes), of.ns ? `${metric((of.read_bytes / of.ns) * 1e9, 'B/s')}` : undefined],
  ];
  const last = 'last_token' in of ? of.last_token : null;
  if (last !== null) facts.push(['last read', `by token ${count(last)}`]);
  return facts;
}

export function rankFacts(report: GraphReport, i: number): Fact[] {
  const rank = (values: readonly number[]) => 1 + values.filter((value) => value > values[i]).length;
  const n = report.nodes.length;
  return [
    ['PageRank', small(report.pagerank[i]), `${count(rank(report.pagerank))} of ${count(n)}`],
    ['betweenness', small(report.betweenness[i]), `${count(rank(report.betweenness))} of ${count(n)}`],
    ['edges', `${count(report.in_degree[i])} in, ${count(report.out_degree[i])} out`],
    ['community', String(report.community[i]), `${count(report.communities[report.community[i]] ?? 0)} nodes`],
    ['core', String(report.core[i])],
  ];
}

export function groupTitle(tree: ArchTree, group: number): Fact[] {
  return [['holds', gathered(tree.graph.nodes, tree.groups[group].members)]];
}
