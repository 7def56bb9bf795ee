// A trace that is not whole: the page says so where it has nothing to show, and never that nothing was computed.
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { SessionSummary } from '../src/lib/types';
import { api, open, serve, synthetic, until } from './support';

it('a damaged trace is called damaged, in the head and in every view that cannot show it', async () => {
  const path = synthetic('damaged.ggtrace', 'llama', 4, 40);
  const bytes = readFileSync(path);
  // What is after the head of the file, without its index: that says still how much there should be.
  for (let at = 600; at < bytes.length * 0.6; at += 97) bytes[at] ^= 0x10;
  writeFileSync(path, bytes);
  const server = await serve([path]);
  const page = await open(`${server.url}/?session=0&view=table`);
  await until(() => page.locator('[data-test="damaged"]').count()).toBe(1);
  const [session] = await api<SessionSummary[]>(server, '/sessions');
  expect([session.state, session.evaluations]).toEqual(['ended', 41]);
  expect(session.damage).toMatch(/damaged\.ggtrace: byte \d+/);
  for (const view of ['graph', 'memory', 'table', 'analytics']) {
    await page.goto(`${server.url}/?session=0&view=${view}`);
    const said = page.locator(`[data-panel="${view}"]`);
    await until(() => said.textContent(), { timeout: 10_000 }).toMatch(/damaged/);
    await until(() => page.textContent('body'), { message: view }).not.toMatch(
      /never computed|been computed yet|was read yet/,
    );
  }
  await page.locator('[data-test="damaged"]').click();
  await until(() => page.locator('[data-test="problem"]').first().textContent()).toContain('damaged.ggtrace: byte');
});
