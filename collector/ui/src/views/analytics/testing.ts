// A timeline for tests, from evaluations in short.
import { Timeline } from '../../lib/timeline';

/** Evaluations as `[tokens, generated, nanoseconds, of unknown phase, context]`; each has 10 operators, 300 bytes of DISK and 100 of BUFFER a token. */
export function timeline(evaluations: [number, number, number, number?, number?][]): Timeline {
  const made = new Timeline();
  let first_token = 0;
  let start_ns = 0;
  made.addLive(
    evaluations.map(([n_tokens, n_generated, dur_ns, n_unknown = 0, context = 1], seq) => {
      const item = {
        ...{
          seq,
          eval: seq + 100,
          graph: 0,
          context,
          start_ns,
          dur_ns,
          first_token,
          n_tokens,
          n_generated,
          n_unknown,
        },
        ...{ operators: 10 * n_tokens, untimed: 0, disk_bytes: 300 * n_tokens, buffer_bytes: 100 * n_tokens },
        ...{ minor_faults: n_tokens, major_faults: 0, status: 0, tokens: [] },
      };
      first_token += n_tokens;
      start_ns += dur_ns;
      return item;
    }),
  );
  return made;
}
