// Models as a file carries them with it: what `ggscope arch MODEL -o DIR` has written into complete_dashboard.html.
import { ApiError } from '../../lib/api';
import type { Schema, WeightBy } from './place';
import type { ModelSource } from './source';
import type { ArchGraph, Block, GraphReport, Inspection, Mix, Reached, TensorReport, WeightCost } from './types';

/** What is in the file, as collector/src/export/dashboard.rs writes it. */
export interface Embedded {
  /** The program and its version. */
  made_by: string;
  inspection: Inspection;
  graphs: ArchGraph[];
  /** Analytics of each graph, by its schema and what its edges weigh. */
  analytics: { schema: Schema; weight: WeightBy; report: GraphReport }[];
  mix: Mix;
  tensors: TensorReport[];
  blocks: Block[];
  /** Of a run of the model, if one was given. */
  run: { trace: string; weights: WeightCost[]; reached: Reached[] } | null;
  /** What was left out to keep the file small, in words. */
  left_out: string | null;
}

const ABSENT = 'open the model itself: ggscope open MODEL.gguf';

function absent(what: string): never {
  throw new ApiError(404, `${what} is not in this file`, ABSENT);
}

/** The session that a file's run is known as. */
export const RUN = 'run';

export function embeddedSource(data: Embedded): ModelSource {
  const { inspection, run } = data;
  const blocks = new Map<string, Block[]>();
  for (const block of data.blocks) blocks.set(block.tensor, [...(blocks.get(block.tensor) ?? []), block]);
  const tensors = new Map(data.tensors.map((report) => [report.tensor.name, report]));
  const found = <T>(value: T | undefined, what: string): T => value ?? absent(what);
  return {
    offers: {
      plans: false,
      schemas: data.graphs.map((graph) => graph.schema),
      weights: [...new Set(data.analytics.map((a) => a.weight))],
      edges: false,
      computed: false,
      note: data.left_out,
    },
    models: async () => [
      {
        id: '0',
        path: inspection.files.paths[0] ?? '',
        name: inspection.name,
        architecture: inspection.architecture.name,
        layers: inspection.architecture.layers.length,
        bytes: inspection.files.bytes,
        sessions: run ? [RUN] : [],
        error: null,
      },
    ],
    inspect: async () => inspection,
    graph: async (_, schema) =>
      found(
        data.graphs.find((graph) => graph.schema === schema),
        `the graph ${schema}`,
      ),
    analytics: async (_, { schema, weight }) =>
      found(
        data.analytics.find((a) => a.schema === schema && a.weight === weight)?.report,
        `the analysis by ${weight}`,
      ),
    computed: async () => absent('the computation graph'),
    mix: async () => data.mix,
    tensor: async (_, name) => found(tensors.get(name), `the distribution of ${name}`),
    blocks: async (_, name, offset) => {
      const of = blocks.get(name) ?? absent(`what is in the blocks of ${name}`);
      const block = of.find((b) => b.index === offset) ?? absent(`block ${offset} of ${name}`);
      return { items: [block], total: block.of, offset, next: null };
    },
    known: (name) => (blocks.get(name) ?? []).map((block) => block.index),
    weights: async () => run?.weights ?? absent('a run'),
    reached: async () => run?.reached ?? absent('a run'),
  };
}
