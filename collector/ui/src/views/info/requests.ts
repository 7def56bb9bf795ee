// A request of a session, as /sessions/{id}/requests answers: a prompt and its answer, in one sequence of one context.
import type { Range } from '../../lib/selection.svelte';
import type { Cell } from '../../lib/save';

export interface Request {
  id: number;
  context: number;
  sequence: number;
  /** `batch`: the program's own id; `inferred`: a number of ggscope's. */
  sequence_from: 'batch' | 'inferred';
  first_token: number;
  last_token: number;
  prompt_tokens: number;
  reused_tokens: number;
  generated_tokens: number;
  drafted_tokens: number;
  accepted_tokens: number;
  parent: number | null;
  begin_ns: number;
  end_ns: number;
  evaluations: number;
  prompt_ns: number;
  generate_ns: number;
  tokens_per_second: { prompt: number | null; generate: number | null };
}

/** Rows on the screen: the latest. */
export const SHOWN = 200;

/** Whether its tokens are selected. Those of others may be between them. */
export function isSelected(request: Request, tokens: Range | null): boolean {
  return tokens !== null && tokens[0] === request.first_token && tokens[1] === request.last_token;
}

/** A request as a row of a file. */
export function row({ tokens_per_second, ...request }: Request): Record<string, Cell> {
  return {
    ...request,
    prompt_tokens_per_second: tokens_per_second.prompt,
    generate_tokens_per_second: tokens_per_second.generate,
  };
}
