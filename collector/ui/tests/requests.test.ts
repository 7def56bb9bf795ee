// Requests of a session in the Session view; and what the page asks the server for: nothing that the session does not have.
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { Page as List } from '../src/lib/types';
import type { Request } from '../src/views/info/requests';
import { quiet } from './quiet';
import { api, open, refusals, serve, settled, synthetic, until } from './support';

const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);
const tokens = (page: Page) => new URLSearchParams(new URL(page.url()).search).get('tokens');

it('are listed as the API has them, and a click selects the tokens of one', async () => {
  const server = await serve([synthetic('requests.ggtrace', 'llama', 4, 30)]);
  const { items } = await api<List<Request>>(server, '/sessions/0/requests');
  expect(items.length).toBeGreaterThan(0);
  const page = await open(`${server.url}/?session=0&view=info`);
  await until(() => test(page, 'requests').locator('tbody tr').count()).toBe(items.length);
  const last = items.at(-1)!;
  const row = test(page, 'requests').locator('tbody tr').last();
  for (const number of [last.prompt_tokens, last.reused_tokens, last.generated_tokens]) {
    await until(() => row.textContent()).toContain(number.toLocaleString('en-US'));
  }
  await test(page, `request-${last.id}`).click();
  await until(() => tokens(page)).toBe(`${last.first_token}..${last.last_token}`);
  await until(() => test(page, `request-${last.id}`).getAttribute('aria-pressed')).toBe('true');
});

it('of a session without captured values, no view asks for what is not there', async () => {
  const server = await serve([synthetic('bare.ggtrace', 'llama', 4, 30)]);
  const page = await open(`${server.url}/?session=0&view=info`);
  const refused = refusals(page);
  const tabs = page.locator('[data-tab]');
  const views = await settled(async () => {
    const names = await tabs.evaluateAll((all) => all.map((tab) => tab.getAttribute('data-tab')!));
    return names.length > 0 && names;
  });
  expect(views.length).toBeGreaterThan(8);
  const addresses = [...views, ...['space', 'against', 'stages', 'vectors'].map((as) => `attention&attention=${as}`)];
  for (const address of addresses) {
    await page.goto(`${server.url}/?session=0&tokens=9&layer=2&head=1&view=${address}`);
    await quiet(page);
    expect(refused, address).toEqual([]);
  }
  // From view to view without loading the page again, with nothing selected and while tokens are chosen.
  await page.goto(`${server.url}/?session=0`);
  await quiet(page);
  for (const view of views) {
    await page.locator(`[data-tab="${view}"]`).click();
    await until(() => page.locator(`[data-panel="${view}"]`).count()).toBe(1);
    await page.keyboard.press('ArrowRight');
    await quiet(page);
    expect(refused, `${view}, from another view`).toEqual([]);
  }
});
