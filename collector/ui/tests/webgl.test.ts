// The page in a browser that does not draw with WebGL: the graph is a list there, and all else is as it is.
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Browser } from 'playwright-core';
import type { GraphPart, GraphSummary, Page as List } from '../src/lib/types';
import { launch } from './start.mjs';
import { afterwards, api, measured, serve, synthetic, until } from './support';

let browser: Browser;
beforeAll(async () => {
  browser = await launch('--disable-3d-apis');
});
afterAll(() => browser?.close());

it('without WebGL the nodes of the graph are a list, which selects and follows as the picture does', async () => {
  const server = await serve([synthetic('list.ggtrace', 'llama', 4, 20)]);
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  afterwards(() => page.close());
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(`${server.url}/?session=0&view=graph&tokens=9`);
  await until(() => page.evaluate(() => document.createElement('canvas').getContext('webgl2'))).toBe(null);
  const rows = page.locator('[data-test="graph-list-row"]');
  const graphs = await api<List<GraphSummary>>(server, '/sessions/0/graphs');
  const { graph } = graphs.items.find((g) => g.evaluations === 20)!;
  const whole = await api<GraphPart>(server, `/sessions/0/graphs/${graph}`);
  await expect.poll(() => rows.count()).toBe(whole.tensors.length);
  await until(() => page.locator('[data-test="graph-list"]').textContent()).toContain('WebGL');

  // One layer: what the API has of it.
  await page.keyboard.press(']');
  await page.keyboard.press(']');
  const part = await api<GraphPart>(server, `/sessions/0/graphs/${graph}?layer=1`);
  await expect.poll(() => rows.count()).toBe(part.tensors.length);

  // A row selects, by the keyboard too; what is selected elsewhere is brought into view.
  await rows.filter({ hasText: 'ffn_out-1' }).getByRole('button').first().press('Enter');
  await expect.poll(() => new URL(page.url()).searchParams.get('tensor')).toBe('ffn_out-1');
  await until(() => page.locator('[data-test="inspector-name"]').textContent()).toBe('ffn_out-1');
  await page.keyboard.press('/');
  await page.keyboard.type('Qcur-1');
  await page.keyboard.press('Enter');
  await expect.poll(() => page.locator('[data-test="inspector-name"]').textContent()).toContain('Qcur-1');
  const chosen = rows.and(page.locator('.selected'));
  await expect.poll(() => chosen.count()).toBe(1);
  await until(async () => {
    const { box } = await measured(chosen);
    const { box: panel } = await measured(page.locator('[data-panel="graph"]'));
    return box.y >= panel.y && box.y + box.height <= panel.y + panel.height;
  }).toBe(true);
  expect(errors).toEqual([]);
});
