// Hidden states on the page are what the API says, of a real llama-server that was recorded with --capture layers,logits.
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { SessionSummary } from '../src/lib/types';
import type { LayersOfRun, Lens, TokenMatrix } from '../src/views/layers/types';
import { api, open, record, serve, synthetic } from './support';

const until = expect.poll;
const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);
const selected = (page: Page) => new URLSearchParams(new URL(page.url()).search);
const CAPTURE = ['--capture', 'layers,logits', '--ring-size', '64M'];

it('shows every token in every layer, the layers, and where the answer appears', async () => {
  const server = await record('layers.ggtrace', CAPTURE);
  await server.ask('Name the capital of France.', 6);
  const [session] = await api<SessionSummary[]>(server, '/sessions');
  const last = session.tokens - 1;
  // Values of a token come a little later than the token.
  const ask = () => api<Lens[]>(server, `/sessions/0/layers/lens?tokens=${last}`);
  await until(
    () =>
      ask().then(
        ([lens]) => lens.complete,
        () => false,
      ),
    { timeout: 20_000 },
  ).toBe(true);
  const page = await open(`${server.url}/?view=layers&tokens=${last}&full=layers`);
  const [lens] = await ask();
  await until(() => test(page, 'lens').locator('tbody tr').count(), { timeout: 20_000 }).toBe(lens.rows.length);
  expect(lens.rows).toHaveLength(31);
  expect(lens.check?.same_top).toBe(true);
  // The row that is marked is the first with the answer on top.
  const first = test(page, 'lens').locator('tbody tr.first');
  expect(await first.getAttribute('data-layer')).toBe(String(lens.rows[lens.first_on_top].layer ?? 'embd'));
  expect(await first.locator('.is-answer').count()).toBe(1);
  // A layer that is chosen there is chosen everywhere.
  await test(page, 'lens').locator('tbody tr[data-layer="5"] button').click();
  await until(() => selected(page).get('layer')).toBe('5');
  const all = await api<LayersOfRun>(server, '/sessions/0/layers');
  await until(() => test(page, 'chart-by-layer').getAttribute('data-points')).toBe(String(all.layers.length));
  await until(() => test(page, 'layers-chosen').textContent()).toContain('attn_norm');

  const matrix = await api<TokenMatrix>(server, '/sessions/0/layers/tokens?measure=norm');
  const cells = matrix.layers.length * matrix.rows.length;
  await until(() => test(page, 'chart-hidden').getAttribute('data-points')).toBe(String(cells));
  await test(page, 'layers-measure').selectOption('entropy');
  await until(() => selected(page).get('measure')).toBe('entropy');
  await until(() => test(page, 'layers-legend').textContent(), { timeout: 20_000 }).not.toContain('logarithmic');
  // The arrows go to a cell, which says what it is; Enter selects its token and layer.
  const chart = test(page, 'chart-hidden');
  await chart.focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('End');
  await until(() => test(page, 'said-hidden').textContent()).toContain('entropy of the lens');
  await page.keyboard.press('Enter');
  await until(() => selected(page).get('layer')).toBe('29');
});

it('says how to record them where there are none', async () => {
  const server = await serve([synthetic('none.ggtrace', 'llama', 3, 10)]);
  const page = await open(`${server.url}/?view=layers&full=layers`);
  await until(() => page.locator('[data-panel="layers"]').textContent()).toContain('--capture layers');
});
