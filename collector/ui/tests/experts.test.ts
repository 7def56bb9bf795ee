// The view of experts shows what the API says, shares the selection, and says of a dense model that it has none.
import type { Page } from 'playwright-core';
import { describe, it } from 'vitest';
import type { ExpertChoices, ExpertReport } from '../src/views/experts/types';
import { api, open, serve, synthetic, until } from './support';

const selected = (page: Page) => new URLSearchParams(new URL(page.url()).search);
const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);

/** The keys that go to a place of a chart. */
async function press(page: Page, chart: string, keys: string[]): Promise<void> {
  const room = test(page, `chart-${chart}`);
  // A card asks when it comes into sight.
  await page.locator(`[data-card="${chart}"]`).scrollIntoViewIfNeeded();
  await until(() => room.getAttribute('data-drawn')).toBe('true');
  await room.focus();
  for (const key of keys) await page.keyboard.press(key);
}

/** What is said of that place. */
const said = (page: Page, chart: string) => test(page, `said-${chart}`).textContent();

describe('the view of experts', () => {
  it('shows loads, choices, pairs and caches as the API has them', async () => {
    const server = await serve([synthetic('moe.ggtrace', 'experts', 4, 60)]);
    const page = await open(`${server.url}/?session=0&view=experts&full=experts`);
    const report = await api<ExpertReport>(server, '/sessions/0/experts');
    await until(() => test(page, 'experts-generate').textContent()).toBe(String(report.generated_tokens));
    await until(() => test(page, 'experts-layers').textContent()).toBe('4');
    const { used, all } = report.bytes;
    await until(() => test(page, 'experts-used').textContent()).toBe(`${((100 * used) / all).toFixed(1)} %`);
    // Each layer's eight experts; the first place is that of layer 0, expert 0.
    await until(() => test(page, 'chart-experts-load').getAttribute('data-points')).toBe('32');
    await press(page, 'experts-load', ['ArrowRight']);
    await until(() => said(page, 'experts-load')).toContain('layer 0, expert 0');
    await until(() => said(page, 'experts-load')).toContain(`${report.layers[0].all.load[0]} tokens`);

    const { choices } = await api<ExpertChoices>(server, '/sessions/0/experts/choices?tokens=0..63');
    await until(() => test(page, 'chart-experts-strip').getAttribute('data-points')).toBe(String(4 * 64));
    const chosen = choices.find((c) => c.token === 0 && c.layer === 0)!;
    await press(page, 'experts-strip', ['ArrowRight']);
    for (const id of chosen.experts) await until(() => said(page, 'experts-strip')).toContain(`expert ${id}, weight`);

    await press(page, 'experts-pairs', ['ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowRight']);
    await until(() => said(page, 'experts-pairs')).toContain('expert 0, expert of the same token 3');
    const together = report.layers[0].together.find((p) => p.a === 0 && p.b === 3)!;
    await until(() => said(page, 'experts-pairs')).toContain(`${together.count} times`);
    const caches = (await api<ExpertReport>(server, '/sessions/0/experts?cache=1')).caches!;
    const hits = `best ${((100 * caches.sizes[0].best) / caches.accesses).toFixed(1)} %`;
    await until(async () => {
      await press(page, 'experts-cache', ['ArrowRight', 'Home']);
      return said(page, 'experts-cache');
    }).toContain(hits);
  });

  it('moves the selection of the other views, and is moved by it', async () => {
    const server = await serve([synthetic('moe.ggtrace', 'experts', 4, 60)]);
    const page = await open(`${server.url}/?session=0&view=experts&layer=2&full=experts`);
    await until(() => page.locator('[data-card="experts-layer"] h3').textContent()).toBe('Experts of layer 2');
    await press(page, 'experts-strip', ['ArrowRight', 'ArrowDown', 'Enter']);
    await until(() => selected(page).get('tokens')).toBe('0');
    await until(() => selected(page).get('layer')).toBe('1');
    await until(() => page.locator('[data-card="experts-layer"] h3').textContent()).toBe('Experts of layer 1');
    await press(page, 'experts-layer', ['ArrowRight', 'Enter']);
    await until(() => selected(page).get('experts')).toBe('expert:0');
    await test(page, 'experts-expert').click();
    await test(page, 'experts-phase-generate').click();
    await until(() => selected(page).get('experts')).toBe('generate');
    // Of the answer alone there is no choice of the prompt's tokens.
    await until(() => test(page, 'chart-experts-strip').getAttribute('data-points')).toBe(String(4 * 59));
  });

  it('says of a dense model that it has none', async () => {
    const server = await serve([synthetic('a.ggtrace', 'llama', 2, 5)]);
    const page = await open(`${server.url}/?session=0&view=experts`);
    await until(() => test(page, 'experts-none').textContent()).toContain('the model has no experts');
  });
});
