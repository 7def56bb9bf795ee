// A recording of several contexts: views name the one that they show, offer the others, and follow the selected token.
import type { Page } from 'playwright-core';
import { describe, it } from 'vitest';
import type { ContextOfSession } from '../src/lib/types';
import { recordedBench } from './recordings';
import { api, open, serve, synthetic, until } from './support';

const selected = (page: Page) => new URLSearchParams(new URL(page.url()).search);
const context = (page: Page, panel: string) => page.locator(`[data-panel="${panel}"] [data-test="context"]`);

describe('contexts', () => {
  it('are named and chosen where there are several, and a selected token shows its own', async () => {
    const server = await serve([await recordedBench()]);
    const { contexts } = await api<{ contexts: ContextOfSession[] }>(server, '/sessions/0');
    const [first, second] = contexts;
    const page = await open(`${server.url}/?session=0&view=heads+layers`);
    await until(() => context(page, 'heads').inputValue()).toBe(String(second.context));
    await until(() => context(page, 'heads').locator('option').allTextContents()).toEqual(
      contexts.map((one) => `${one.context}: ${one.model_name}`),
    );
    const over = page.locator('[data-test="heads-over"]');
    // Comparing all heads takes its time.
    const long = { timeout: 30_000 };
    await until(() => over.textContent(), long).toContain(`over tokens ${second.first_token} to `);
    await context(page, 'heads').selectOption(String(first.context));
    await until(() => over.textContent(), long).toContain('over tokens 0 to ');
    await until(() => context(page, 'layers').inputValue()).toBe(String(first.context));
    await until(() => selected(page).get('context')).toBe(String(first.context));
    // The token that is looked at belongs to one of them.
    const last = String(second.last_token);
    const chosen = await open(`${server.url}/?session=0&view=attention+layers&context=${first.context}&tokens=${last}`);
    await until(() => context(chosen, 'attention').inputValue()).toBe(String(second.context));
    await until(() => context(chosen, 'layers').inputValue()).toBe(String(second.context));
    await until(() => chosen.locator('[data-card="hidden"]').textContent(), long).toContain(`..${last}`);
    await context(chosen, 'layers').selectOption(String(first.context));
    await until(() => selected(chosen).get('tokens')).toBeNull();
    await until(() => context(chosen, 'attention').inputValue()).toBe(String(first.context));
  });

  it('have leaves, sums and comparisons of their own', async () => {
    const server = await serve([await recordedBench(), synthetic('one.ggtrace', 'experts', 4, 60)]);
    const { contexts } = await api<{ contexts: ContextOfSession[] }>(server, '/sessions/0');
    const [first, second] = contexts.map((one) => String(one.context));
    const page = await open(`${server.url}/?session=0&view=info&full=info`);
    await page.locator('[data-card="leaves"]').scrollIntoViewIfNeeded();
    const whose = () => page.locator('[data-test="leaf-context"]').allTextContents();
    await page.locator('[data-test="leaves-search"]').fill('cache_k_l0');
    await until(async () => (await whose()).sort()).toEqual([first, second]);
    await page.locator('[data-test="leaves-context"]').selectOption(second);
    await until(whose).toEqual([second]);
    // Of the operators of one context there are as many as the server counts of it.
    const sums = await open(`${server.url}/?session=0&view=analytics&full=analytics&context=${first}`);
    await until(() => context(sums, 'analytics').inputValue()).toBe(first);
    await until(() => sums.locator('[data-test="analytics-scope"]').textContent()).toBe(`of context ${first}`);
    const compared = await open(`${server.url}/?session=0&view=compare&full=compare&with=1&context=${second}`);
    await until(() => compared.locator('[data-test="compare-command"]').textContent()).toContain(`--context ${second}`);
    await until(() => compared.locator('[data-test="compare-b-context"]').count()).toBe(0);
  });

  it('are not spoken of where there is only one', async () => {
    const server = await serve([synthetic('moe.ggtrace', 'experts', 4, 60)]);
    const page = await open(`${server.url}/?session=0&view=experts&full=experts`);
    await until(() => page.locator('[data-test="experts-layers"]').textContent()).toBe('4');
    await until(() => context(page, 'experts').count()).toBe(0);
  });
});
