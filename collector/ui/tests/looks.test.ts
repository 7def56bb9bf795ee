// Every view at three sizes, and in both colours: texts can be read, nothing is cut off, nothing lies on something else.
// All of it is one page, which goes from view to view: what is wrong after a change of the size or the colours is found too.
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import { faults, moved } from './looks';
import { drawn, quiet } from './quiet';
import { recordedInside } from './recordings';
import { atOnce, MODEL, open, serve, type Server, synthetic, until } from './support';

const SIZES = [
  [1280, 720],
  [900, 720],
  [1920, 1080],
];
/** The width at which a view is looked at in both colours: its boxes are the same in both, which is expected there. */
const BOTH_AT = 1280;
const INSIDE = 'session=0&tokens=20&layer=5&head=3';
/** Views by name: the address, and what of them is there when they are. */
const LOOKS: [string, string, string][] = [
  ['graph', 'session=0&view=graph&tokens=20', '[data-test="graph-counts"][data-tensors]'],
  [
    'graph of a layer',
    'session=0&view=graph&tokens=20&layer=5&tensor=Qcur-5',
    '[data-test="graph-counts"][data-layer]',
  ],
  ['memory', 'session=0&view=memory&tokens=20&tensor=blk.5.attn_q.weight', '[data-panel="memory"] canvas'],
  ['table', 'session=0&view=table&layer=5&op=MUL_MAT', '[data-test="table-row"]'],
  ['analytics', 'session=0&view=analytics&tokens=0..24&layer=5&op=MUL_MAT', '[data-card="tokens"]'],
  ['compare', 'session=0&view=compare&with=2', '[data-test="compare-headline"]'],
  ['session', 'session=0&view=info', '[data-test="requests"]'],
  ['model', 'session=0&view=model', '[data-panel="model"]'],
  [
    'model graph',
    'session=0&view=model&full=model&tab=graph&open=layer_4,layer_5&layer=5',
    '[data-panel="model"] canvas',
  ],
  ['model cost', 'session=0&view=model&full=model&tab=cost', '[data-card="model-roofline"]'],
  [
    'model quant',
    'session=0&view=model&full=model&tab=quant&layer=5&tensor=blk.5.ffn_down.weight',
    '[data-panel="model"] [data-card]',
  ],
  ['model ranks', 'session=0&view=model&full=model&tab=ranks', '[data-panel="model"] table'],
  ['attention', `view=attention&${INSIDE}`, '[data-test="attention-heatmap"][data-rows]'],
  [
    'attention in numbers',
    `view=attention&attention=stages&full=attention&key=3&${INSIDE}`,
    '[data-test="attention-stages"] [data-key]',
  ],
  [
    'attention as vectors',
    `view=attention&attention=vectors&full=attention&key=3&${INSIDE}`,
    '[data-panel="attention"]',
  ],
  ['all heads', `view=heads&full=heads&${INSIDE}`, '[data-test="heads-row"]'],
  [
    'attention in space',
    `view=attention&attention=space&full=attention&${INSIDE}`,
    '[data-test="space-room"][data-links]',
  ],
  ['layers', `view=layers&${INSIDE}`, '[data-panel="layers"] canvas'],
  ['heads', `view=heads&${INSIDE}`, '[data-panel="heads"] table'],
  ['experts', 'session=1&view=experts&tokens=3', '[data-panel="experts"] canvas'],
  [
    'two views',
    'session=0&view=graph+table&tokens=5..20&layer=5&op=MUL_MAT&tensor=blk.5.attn_q.weight',
    '[data-test="table-row"]',
  ],
];
let server: Server;
let page: Page;

beforeAll(async () => {
  const files = [
    await recordedInside(),
    synthetic('experts.ggtrace', 'experts', 4, 20),
    synthetic('other.ggtrace', 'llama', 30, 20),
  ];
  server = await serve(files, ['--model', MODEL]);
  page = await open('about:blank');
});

/** Pages of a view that is longer than its panel. */
const MOST_PAGES = 8;

/** Scrolls by a page: the view, and at its end the lists in it that are in sight; returns whether there was more. */
function scrollOn(): Promise<boolean> {
  return page.evaluate(() => {
    const next = [...document.querySelectorAll('main *')].find((element) => {
      const { top, bottom } = element.getBoundingClientRect();
      return (
        element.scrollHeight - element.clientHeight - element.scrollTop > 1 &&
        element.clientHeight > 200 &&
        Math.min(bottom, innerHeight) - Math.max(top, 0) > 100 &&
        /auto|scroll/.test(getComputedStyle(element).overflowY)
      );
    });
    next?.scrollBy({ top: next.clientHeight - 40, behavior: 'instant' });
    return next !== undefined;
  });
}

/** Scrolls everything to its begin. */
const scrollBack = () =>
  page.evaluate(() => document.querySelectorAll('main *').forEach((element) => element.scrollTo(0, 0)));

async function paint(theme: 'dark' | 'light') {
  const is = () => page.evaluate(() => document.documentElement.dataset.theme);
  await page.keyboard.press('t');
  await until(is).toBe(theme);
  await drawn(page);
}

it('what is cut off, lies on something else, is hard to read or moves with the colours is found', async () => {
  await page.setViewportSize({ width: 1280, height: 720 });
  await page.goto(`${server.url}/?session=0&view=info`);
  await quiet(page);
  await page.evaluate(() => {
    const planted = document.createElement('div');
    planted.style.cssText = 'position: absolute; z-index: 99; inset: 300px auto auto 100px; background: #666';
    planted.innerHTML = `
      <p style="width: 20px; overflow: hidden; white-space: nowrap; color: #fff">planted too long</p>
      <p style="color: #777">planted pale</p>
      <p style="position: absolute; top: 100px; margin: 0; color: #fff">planted below</p>
      <p style="position: absolute; top: 100px; margin: 0; color: #fff">planted above</p>
      <p class="moves">planted</p>`;
    document.body.append(planted);
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(':root[data-theme="light"] .moves { padding-left: 9px }');
    document.adoptedStyleSheets = [sheet];
  });
  const found = (await atOnce(() => page.evaluate(faults))).join('\n');
  expect(found).toMatch(/cut off: “planted too long”/);
  expect(found).toMatch(/contrast 1\.\d+: “planted pale”/);
  expect(found).toMatch(/on each other: “planted (below|above)”/);
  await page.evaluate(moved);
  await paint('light');
  const other = (await atOnce(() => page.evaluate(moved))).join('\n');
  await paint('dark');
  expect(other).toMatch(/“planted” in p\.moves: from/);
});

it.each(LOOKS)('%s can be read and is whole', async (name, query, there) => {
  const found: Record<string, string[]> = {};
  async function look(width: number, theme: string, at: number) {
    if (process.env.LOOKS) {
      const file = `${name.replaceAll(' ', '-')}-${width}-${theme}${at > 0 ? `-${at}` : ''}.png`;
      await page.screenshot({ path: join(process.env.LOOKS, file) });
    }
    const wrong = await atOnce(() => page.evaluate(faults));
    if (wrong.length) found[`${width}, ${theme}, page ${at}`] = wrong;
  }
  await page.setViewportSize({ width: SIZES[0][0], height: SIZES[0][1] });
  await page.goto(`${server.url}/?${query}`, { waitUntil: 'domcontentloaded' });
  await page.locator(there).first().waitFor({ timeout: 60_000 });
  for (const [width, height] of SIZES) {
    await page.setViewportSize({ width, height });
    await scrollBack();
    for (let at = 0; at < MOST_PAGES; at++) {
      await quiet(page);
      await look(width, 'dark', at);
      if (width === BOTH_AT) {
        await page.evaluate(moved);
        await paint('light');
        await look(width, 'light', at);
        const other = await atOnce(() => page.evaluate(moved));
        if (other.length) found[`${width}, page ${at}: not at the same place in both colours`] = other;
        await paint('dark');
      }
      if (!(await atOnce(scrollOn))) break;
    }
  }
  expect(found).toEqual({});
});
