import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '../../lib/api';
import { BLOCK, Blocks } from './blocks.svelte';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Asked {
  offset: number;
  limit: number;
  signal: AbortSignal;
  answer: (total: number) => Promise<void>;
  fail: (error: unknown) => Promise<void>;
}

/** A list of numbers whose answers come when the test lets them. */
function list() {
  const asked: Asked[] = [];
  const blocks = new Blocks<number>((offset, limit, signal) => {
    return new Promise((resolve, reject) => {
      const settle = async () => void (await vi.advanceTimersByTimeAsync(0));
      const answer = (total: number) => {
        const items = Array.from({ length: Math.max(0, Math.min(limit, total - offset)) }, (_, i) => offset + i);
        resolve({ total, offset, next: null, items });
        return settle();
      };
      const fail = (error: unknown) => (reject(error), settle());
      asked.push({ offset, limit, signal, answer, fail });
    });
  });
  const look = async (first: number, last: number) => {
    blocks.want(first, last);
    await vi.advanceTimersByTimeAsync(100);
  };
  return { blocks, asked, look };
}

describe('rows in blocks', () => {
  it('loads what is in view, once', async () => {
    const { blocks, asked, look } = list();
    await look(0, BLOCK + 1);
    expect(asked.map((a) => a.offset)).toEqual([0]);
    await asked[0].answer(1000);
    expect(asked.map((a) => a.offset)).toEqual([0, BLOCK]);
    await asked[1].answer(1000);
    await look(5, BLOCK + 5);
    expect(asked.length).toBe(2);
    expect([blocks.total, blocks.row(0), blocks.row(BLOCK + 7), blocks.row(3 * BLOCK)]).toEqual([
      1000,
      0,
      BLOCK + 7,
      undefined,
    ]);
  });

  it('asks for nothing that is passed on the way, and cancels what has scrolled out', async () => {
    const { blocks, asked, look } = list();
    await look(0, 10);
    await asked[0].answer(10_000_000);
    for (let at = 0; at < 50; at++) blocks.want(at * 9000, at * 9000 + 40);
    await look(5_000_000, 5_000_040);
    expect(asked.map((a) => a.offset)).toEqual([0, 5_000_000]);
    blocks.want(0, 10);
    expect(asked[1].signal.aborted).toBe(true);
    await asked[1].answer(10_000_000);
    expect(blocks.row(5_000_000)).toBeUndefined();
    expect(blocks.row(3)).toBe(3);
  });

  it('keeps those that were looked at last', async () => {
    const { blocks, asked, look } = list();
    for (let block = 0; block < 70; block++) {
      await look(block * BLOCK, block * BLOCK + 1);
      await asked[block].answer(1_000_000);
    }
    expect([blocks.row(0), blocks.row(69 * BLOCK)]).toEqual([undefined, 69 * BLOCK]);
  });

  it('grows: the last block is asked for again, and shown until its successor has come', async () => {
    const { blocks, asked, look } = list();
    await look(0, 300);
    await asked[0].answer(250);
    await asked[1].answer(250);
    void blocks.refresh(true);
    await asked[2].answer(390);
    expect([asked[2].limit, blocks.total, blocks.row(249), asked.length]).toEqual([1, 390, 249, 4]);
    await asked[3].answer(390);
    expect([asked[3].offset, blocks.row(389), asked.length]).toEqual([BLOCK, 389, 4]);
  });

  it('stops at an error until it is told to try again', async () => {
    const { blocks, asked, look } = list();
    await look(0, 10);
    await asked[0].fail(new ApiError(400, 'op: not a glob', 'give a glob', 'op'));
    await look(0, 20);
    expect([asked.length, blocks.error?.field]).toEqual([1, 'op']);
    blocks.retry();
    await asked[1].answer(10);
    expect([blocks.error, blocks.row(9)]).toEqual([null, 9]);
  });

  it('is silent once it is closed', async () => {
    const { blocks, asked, look } = list();
    await look(0, 10);
    blocks.close();
    await asked[0].fail(new Error('aborted'));
    await look(0, 10);
    expect([asked.length, blocks.error]).toEqual([1, null]);
  });
});
