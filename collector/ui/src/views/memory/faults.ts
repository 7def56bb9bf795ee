// Page faults of the tokens, as columns of pixels.
import type { Timeline } from '../../lib/timeline';

export function sumFaults(timeline: Timeline): { minor: number; major: number; tokens: number } {
  let [minor, major] = [0, 0];
  for (let i = 0; i < timeline.length; i++) {
    minor += timeline.minor_faults[i];
    major += timeline.major_faults[i];
  }
  return { minor, major, tokens: timeline.tokens };
}

/** The most faults of an evaluation in each column; an evaluation is as wide as its tokens. */
export function faultColumns(timeline: Timeline, width: number) {
  const [minor, major] = [new Uint32Array(width), new Uint32Array(width)];
  const most = { minor: 0, major: 0 };
  const scale = width / Math.max(1, timeline.tokens);
  for (let i = 0; i < timeline.length; i++) {
    const [a, b] = [timeline.minor_faults[i], timeline.major_faults[i]];
    most.minor = Math.max(most.minor, a);
    most.major = Math.max(most.major, b);
    if ((a === 0 && b === 0) || timeline.n_tokens[i] === 0) continue;
    const first = Math.floor(timeline.first_token[i] * scale);
    const end = Math.max(first + 1, Math.floor((timeline.first_token[i] + timeline.n_tokens[i]) * scale));
    for (let x = first; x < end && x < width; x++) {
      minor[x] = Math.max(minor[x], a);
      major[x] = Math.max(major[x], b);
    }
  }
  return { minor, major, most };
}
