import { describe, expect, it } from 'vitest';
import { Timeline } from './timeline';
import { usualContext } from './usual';
import type { ContextOfSession, LiveEvaluation } from './types';

const context = (context: number, model: number | null) =>
  ({ context, model, model_name: `m${model}` }) as ContextOfSession;

describe('contexts', () => {
  it('that nobody has chosen is the last of the first model, not its draft', () => {
    const last = new Map([
      [0, 9],
      [1, 12],
    ]);
    expect(usualContext(last, [context(0, 0), context(1, 1)], 0)).toBe(0);
    expect(usualContext(last, [context(0, 0), context(1, 0)], 0)).toBe(1);
    expect(usualContext(last, [], null)).toBe(1);
    expect(usualContext(new Map(), [], null)).toBeNull();
  });

  it('are known from the evaluations, with the newest token of each', () => {
    const timeline = new Timeline();
    const evaluation = (seq: number, context: number, first_token: number, n_tokens: number) =>
      ({ seq, context, first_token, n_tokens, start_ns: seq, dur_ns: 1 }) as unknown as LiveEvaluation;
    timeline.addLive([evaluation(0, 0, 0, 3), evaluation(1, 1, 3, 2), evaluation(2, 0, 5, 1), evaluation(3, 1, 6, 0)]);
    expect([...timeline.contexts]).toEqual([
      [0, 5],
      [1, 4],
    ]);
    expect([0, 4, 5, 6].map((token) => timeline.contextOf(token))).toEqual([0, 1, 0, undefined]);
  });
});
