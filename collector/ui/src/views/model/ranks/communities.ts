// What communities consist of, in a few words.
import type { GraphReport } from '../types';
import { kindName } from '../words';

export interface Community {
  community: number;
  size: number;
  /** Layers that most of it is from: `layer 5`, `layers 3 to 8`. */
  layers: string;
  kinds: string;
  /** The member with the highest rank. */
  first: number;
}

export function communitiesOf(report: GraphReport): Community[] {
  const members: number[][] = report.communities.map(() => []);
  report.community.forEach((community, i) => members[community]?.push(i));
  return members.map((nodes, community) => {
    const layers = [...new Set(nodes.flatMap((i) => report.nodes[i].layer ?? []))].sort((a, b) => a - b);
    const kinds = new Map<string, number>();
    for (const i of nodes) kinds.set(report.nodes[i].kind, (kinds.get(report.nodes[i].kind) ?? 0) + 1);
    const [least, most] = [layers[0], layers[layers.length - 1]];
    return {
      community,
      size: report.communities[community],
      layers: layers.length === 0 ? 'no layer' : least === most ? `layer ${least}` : `layers ${least} to ${most}`,
      kinds: [...kinds]
        .sort((a, b) => b[1] - a[1])
        .map(([kind, n]) => `${n} ${kindName(kind)}`)
        .join(', '),
      first: nodes.reduce((best, i) => (report.pagerank[i] > report.pagerank[best] ? i : best), nodes[0] ?? 0),
    };
  });
}
