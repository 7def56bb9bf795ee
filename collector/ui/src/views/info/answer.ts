// What the server says of a session: `ggscope info --json`.
import { lossText, type Losses } from '../../lib/losses';
import type { Ending } from '../../lib/types';

export interface Info {
  format: number;
  complete: boolean;
  ending: Ending | null;
  ggscope: string;
  process: {
    pid: number;
    exe: string;
    argv: string[];
    cwd: string;
    started_ns: number;
    clock: string;
    ggml: string;
  };
  model: Model | null;
  more_models?: Model[];
  level: string;
  capture?: string[];
  graphs: number;
  evaluations: number;
  operators: number;
  timed_operators: number;
  tokens: { prompt: number; generate: number; unknown: number };
  time: { first_ns: number; last_ns: number; compute_ns: number; prompt_ns: number; generate_ns: number };
  tokens_per_second: { prompt: number | null; generate: number | null };
  page_faults: { minor: number; major: number };
  operators_by_time: { op: string; count: number; ns: number }[];
  devices?: { name: string; runs: number; operators: number; ns: number }[];
  dropped: { records: number; bytes: number; causes: Losses | null };
  size: { file_bytes: number; bytes_per_generated_token: number | null; value_bytes: number };
  buffers: Buffer[];
  notes: string[];
  warnings: string[];
}

export interface Model {
  path: string;
  name: string;
  arch: string;
  n_layer: number;
  file_bytes: number;
}

export interface Buffer {
  id: number;
  name: string;
  usage: string;
  addr: number;
  bytes: number;
  host: boolean;
  allocated_ns: number | null;
  released_ns: number | null;
}

/** A command line as a shell takes it. */
export function commandLine(argv: string[]): string {
  return argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`)).join(' ');
}

/** Something that is wrong with a session, and what to do. */
export interface Problem {
  what: string;
  help: string;
}

/** A text as a sentence begins. A program's name stays as it is. */
function sentence(text: string): string {
  return text.startsWith('the ') ? `T${text.slice(1)}` : text;
}

/** What is wrong, the worst first. */
export function problems(info: Info, live: boolean): Problem[] {
  const found: Problem[] = [];
  const { records, bytes } = info.dropped;
  if (records > 0) {
    found.push({
      what: `${records.toLocaleString('en-US')} record${records === 1 ? ' was' : 's were'} lost (${bytes.toLocaleString('en-US')} bytes): sums are too low by as much.`,
      help: lossText(info.dropped.causes),
    });
  }
  if (info.ending?.unexpected) {
    found.push({ what: `${sentence(info.ending.text)}.`, help: '' });
  } else if (!info.complete && !live) {
    found.push({
      what: 'The file ends before its index: the recording was cut.',
      help: 'All that was written is here. The collector was ended by force, or the disk was full.',
    });
  }
  for (const warning of info.warnings) found.push({ what: warning, help: '' });
  return found;
}
