// Hidden states on the page are what the API says, of a real llama-server that was recorded with --capture layers,logits.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { SessionSummary } from '../src/lib/types';
import type { Against, LayersOfRun, Lens, TokenMatrix } from '../src/views/layers/types';
import { simple } from './recordings';
import { api, folder, MODEL, open, program, record, serve, steady, synthetic, until } from './support';

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
  await until(() => first.getAttribute('data-layer')).toBe(String(lens.rows[lens.first_on_top!].layer ?? 'embd'));
  await until(() => first.locator('.is-answer').count()).toBe(1);
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

it('shows where the hidden states of a quantised model leave those of its reference', async () => {
  const traced = (name: string, model: string, prompt: string) => {
    simple(join(folder, name), 'layers,logits', prompt, 6, model);
    return join(folder, name);
  };
  const quantised = join(folder, 'q4_0.gguf');
  execFileSync(program('llama-quantize'), ['--allow-requantize', MODEL, quantised, 'Q4_0'], { stdio: 'ignore' });
  const prompt = 'The capital of France is';
  const server = await serve([
    traced('q4_0.ggtrace', quantised, prompt),
    traced('q4_1.ggtrace', MODEL, prompt),
    traced('other.ggtrace', MODEL, 'Once upon a time'),
  ]);
  const found = await api<Against>(server, '/sessions/0/layers/against?with=1');
  expect(found.layers).toHaveLength(31);
  const page = await open(`${server.url}/?session=0&view=layers&full=layers`);
  const card = page.locator('[data-card="against"]');
  await card.scrollIntoViewIfNeeded();
  await until(() => card.textContent()).toContain('Choose a recording of the same prompt');
  await test(page, 'layers-against').selectOption({ label: await name(1) });
  await until(() => selected(page).get('with')).toBe('1');
  await until(() => test(page, 'chart-against-layers').getAttribute('data-points')).toBe('31');
  await until(() => test(page, 'chart-against-tokens').getAttribute('data-points')).toBe(String(31 * found.tokens));
  await until(() => test(page, 'against-words').textContent()).toContain(`grows most in layer ${found.steepest}`);
  // Enter on the line selects its layer, and what is said of it is what the server says.
  const chart = test(page, 'chart-against-layers');
  await chart.focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('End');
  await until(() => test(page, 'said-against-layers').textContent()).toContain(
    `cosine ${found.layers[30].cosine!.toFixed(4)}`,
  );
  await page.keyboard.press('Enter');
  await until(() => selected(page).get('layer')).toBe('29');
  // Another prompt is refused with the reason, and nothing of the comparison before stays on the screen.
  await test(page, 'layers-against').selectOption({ label: await name(2) });
  await until(() => test(page, 'error-against').textContent()).toContain('the texts differ');
  await until(() => test(page, 'chart-against-layers').count()).toBe(0);

  async function name(at: number): Promise<string> {
    const names = await steady(() => test(page, 'layers-against').locator('option').allTextContents());
    return names[at].trim();
  }
});

it('says how to record them where there are none', async () => {
  const server = await serve([synthetic('none.ggtrace', 'llama', 3, 10)]);
  const page = await open(`${server.url}/?view=layers&full=layers`);
  await until(() => page.locator('[data-panel="layers"]').textContent()).toContain('--capture layers');
});
