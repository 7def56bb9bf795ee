import { afterEach, expect, it, vi } from 'vitest';
import { SessionData } from '../../lib/data.svelte';
import { FlameStore } from './spans';
import { timeline } from './testing';

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

function store(answer: (path: string) => object | null) {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (path: string) => {
    asked.push(path);
    const body = answer(path);
    return new Response(JSON.stringify(body ?? { error: 'no such evaluation' }), { status: body ? 200 : 404 });
  });
  const session = new SessionData('0');
  Object.assign(session.timeline, timeline(Array.from({ length: 50 }, () => ({}))));
  const changed = vi.fn();
  return { flames: new FlameStore(session, changed), asked, changed };
}

const answer = (path: string) =>
  path.includes('/spans')
    ? { eval: 0, seq: 0, graph: 0, t_ns: 0, dur_ns: 100, node: [], start: [], dur: [], fused_into: [] }
    : { graph: 0, tensors: [], edges: [] };
const spansOf = (asked: string[], seq: number) => asked.filter((path) => path.endsWith(`/evaluations/${seq}/spans`));

it('asks for two evaluations at a time, once each, and tells when one has come', async () => {
  const { flames, asked, changed } = store(answer);
  expect([0, 1, 2].map((seq) => flames.flame(seq))).toEqual(['asked', 'asked', undefined]);
  expect(flames.flame(0)).toBe('asked');
  await vi.waitFor(() => expect(changed).toHaveBeenCalledTimes(2));
  expect(flames.flame(1)).toMatchObject({ seq: 1, dur_ns: 100 });
  expect(spansOf(asked, 1).length).toBe(1);
  expect(flames.flame(2)).toBe('asked');
});

it('keeps the evaluations that were looked at last', async () => {
  const { flames, asked, changed } = store(answer);
  for (let seq = 0; seq < 40; seq++) {
    flames.flame(seq);
    await vi.waitFor(() => expect(changed).toHaveBeenCalledTimes(seq + 1), { interval: 1 });
    flames.flame(0);
  }
  expect(flames.flame(0)).toMatchObject({ seq: 0 });
  expect(flames.flame(39)).toMatchObject({ seq: 39 });
  expect(flames.flame(5)).toBe('asked');
  expect([spansOf(asked, 0).length, spansOf(asked, 5).length]).toEqual([1, 2]);
});

it('says why an evaluation did not come, and asks again later', async () => {
  vi.useFakeTimers();
  const { flames, changed } = store(() => null);
  flames.flame(0);
  await vi.advanceTimersByTimeAsync(10);
  expect(flames.flame(0)).toEqual({ error: 'no such evaluation' });
  const before = changed.mock.calls.length;
  await vi.advanceTimersByTimeAsync(3000);
  expect(changed.mock.calls.length).toBe(before + 1);
  expect(flames.flame(0)).toBe('asked');
});
