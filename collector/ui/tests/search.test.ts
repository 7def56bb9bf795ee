// The key `/` finds something in every view whose help says so, and what was found can be selected.
import type { Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import { quiet } from './quiet';
import { MODEL, open, serve, type Server, settled, synthetic, until } from './support';

interface Search {
  /** What is typed, twice: the second replaces the first. */
  words: [string, string];
  /** What the second one selects, with its name in the address. */
  selects: [string, string];
  /** After Enter, where that only finds. */
  choose?: (page: Page, word: string) => Promise<void>;
}

/** What there is to find, by the address of a view. */
const SEARCHES: Record<string, Search> = {
  graph: { words: ['Qcur-7', 'Kcur-9'], selects: ['tensor', 'Kcur-9'] },
  'graph&layer=9': { words: ['Qcur-9', 'Kcur-9'], selects: ['tensor', 'Kcur-9'] },
  table: {
    words: ['Qcur-7', 'Vcur-5'],
    selects: ['tensor', 'Vcur-5'],
    choose: (page, word) => page.locator('[data-test="table-row"]').filter({ hasText: word }).first().click(),
  },
  analytics: { words: ['soft', 'rope'], selects: ['op', 'ROPE'] },
  'analytics&op=MUL_MAT': { words: ['soft', 'rms'], selects: ['op', 'RMS_NORM'] },
  info: { words: ['blk.2.ffn_up', 'blk.3.ffn_up'], selects: ['tensor', 'blk.3.ffn_up.weight'] },
  'model&tab=graph': { words: ['layer 3 head 1', 'layer 5 head 3'], selects: ['part', 'layer_5_head_3'] },
};

let server: Server;
beforeAll(async () => {
  server = await serve([synthetic('search.ggtrace', 'llama', 30, 40)], ['--model', MODEL]);
});

/** Whether the help says of the key that it does something here. */
async function offers(page: Page): Promise<boolean> {
  await page.keyboard.press('?');
  await page.locator('[data-test="help"]').waitFor();
  const caps = await settled(() => page.locator('[data-test="help"] kbd').allTextContents());
  await page.keyboard.press('Escape');
  await page.locator('[data-test="help"]').waitFor({ state: 'hidden' });
  return caps.includes('/');
}

it.each(Object.entries(SEARCHES))(
  '%s: what is typed is found, and selects',
  async (view, { words, selects, choose }) => {
    const page = await open(`${server.url}/?session=0&tokens=9&view=${view}`);
    await quiet(page);
    for (const word of words) {
      await page.keyboard.press('/');
      await page.keyboard.type(word);
      await page.keyboard.press('Enter');
      await quiet(page);
      await choose?.(page, word);
      // Out of the field.
      await page.evaluate(() => (document.activeElement as HTMLElement).blur());
    }
    await until(() => new URL(page.url()).searchParams.get(selects[0])).toBe(selects[1]);
  },
);

it('no other view says that it does', async () => {
  const page = await open(`${server.url}/?session=0&tokens=9&view=graph`);
  await quiet(page);
  const views = await settled(() =>
    page.locator('[data-tab]').evaluateAll((all) => all.map((tab) => tab.getAttribute('data-tab')!)),
  );
  const known = new Set(Object.keys(SEARCHES).map((address) => address.split('&')[0]));
  const found: string[] = [];
  for (const view of views) {
    const tabs = view === 'model' ? ['overview', 'graph', 'cost', 'quant', 'ranks'] : [''];
    for (const tab of tabs) {
      await page.goto(`${server.url}/?session=0&tokens=9&view=${view}&tab=${tab}`);
      await quiet(page);
      if (await offers(page)) found.push(view);
    }
  }
  expect(found.length).toBeGreaterThan(4);
  expect([...new Set(found)].sort()).toEqual([...known].sort());
});
