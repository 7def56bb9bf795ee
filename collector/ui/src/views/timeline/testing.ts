// Evaluations for the tests of the timeline.
import { Timeline } from '../../lib/timeline';
import type { LiveEvaluation } from '../../lib/types';

/** A timeline of evaluations that say only what matters; each begins where the one before it ended. */
export function timeline(evaluations: Partial<LiveEvaluation>[]): Timeline {
  const t = new Timeline();
  let [start_ns, first_token] = [0, 0];
  evaluations.forEach((given, seq) => {
    const e: LiveEvaluation = {
      seq,
      eval: seq,
      graph: 0,
      context: 1,
      start_ns,
      dur_ns: 100,
      first_token,
      n_tokens: 1,
      n_generated: given.n_tokens === undefined || given.n_tokens === 1 ? 1 : 0,
      n_unknown: 0,
      operators: 5,
      untimed: 0,
      disk_bytes: 0,
      buffer_bytes: 0,
      minor_faults: 0,
      major_faults: 0,
      status: 0,
      tokens: [],
      ...given,
    };
    t.addLive([e]);
    start_ns = e.start_ns + e.dur_ns;
    first_token = e.first_token + e.n_tokens;
  });
  return t;
}
