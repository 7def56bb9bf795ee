// Every view at three sizes and in both colours: texts can be read, nothing is cut off, nothing lies on something else.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import { faults } from './looks';
import { folder, GGSCOPE, MODEL, open, ROOT, serve, synthetic, until } from './support';

const SIZES = [
  [900, 720],
  [1280, 720],
  [1920, 1080],
];
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
const PROMPT = 'When Mary and John went to the store, John gave a drink to Mary. Tom gave a flower 🎉 to';
let files: string[];

beforeAll(() => {
  const inside = join(folder, 'inside.ggtrace');
  const program = [join(ROOT, 'vendor/build/bin/llama-simple'), '-m', MODEL, '-n', '8', PROMPT];
  const capture = ['--capture', 'attention,values,layers,logits'];
  execFileSync(GGSCOPE, ['record', '-q', '--force', ...capture, '-o', inside, '--', ...program], { stdio: 'ignore' });
  files = [inside, synthetic('experts.ggtrace', 'experts', 4, 20), synthetic('other.ggtrace', 'llama', 30, 20)];
});

/** Pages of a view that is longer than its panel. */
const MOST_PAGES = 8;

/** Until what is on the screen has come and has been laid out. */
async function settle(page: Page) {
  await page.evaluate(() => document.fonts.ready);
  let before = '';
  await until(
    async () => {
      const now = await page.evaluate(() => {
        const asks = [...document.querySelectorAll('main p, main span, main [aria-busy="true"]')].filter((element) => {
          const { top, bottom } = element.getBoundingClientRect();
          const waits = element.ariaBusy === 'true' || /^(Asking the collector…|asking…)$/.test(element.textContent);
          return waits && bottom > 0 && top < innerHeight;
        });
        return asks.length > 0 ? null : `${document.body.innerText} ${document.querySelectorAll('*').length}`;
      });
      const same = now !== null && now === before;
      before = now ?? '';
      return same;
    },
    { interval: 250 },
  ).toBe(true);
}

/** Scrolls what is longest by a page; returns whether there was more. */
function scrollOn(page: Page): Promise<boolean> {
  return page.evaluate(() => {
    const room = (element: Element) => element.scrollHeight - element.clientHeight;
    const all = [...document.querySelectorAll('main *')].filter(
      (element) =>
        room(element) > 1 && element.clientHeight > 200 && /auto|scroll/.test(getComputedStyle(element).overflowY),
    );
    const longest = all.sort((a, b) => room(b) - room(a))[0];
    const from = longest?.scrollTop ?? 0;
    longest?.scrollBy({ top: longest.clientHeight - 40, behavior: 'instant' });
    return longest !== undefined && longest.scrollTop > from + 1;
  });
}

it.each(LOOKS)('%s can be read and is whole', async (name, query, there) => {
  const server = await serve(files, ['--model', MODEL]);
  const page = await open(`${server.url}/?${query}`);
  const found: Record<string, string[]> = {};
  for (const [width, height] of SIZES) {
    await page.setViewportSize({ width, height });
    for (const theme of ['dark', 'light'] as const) {
      await page.evaluate((name) => localStorage.setItem('ggscope-theme', name), theme);
      await page.reload({ waitUntil: 'domcontentloaded' });
      await page.locator(there).first().waitFor({ timeout: 60_000 });
      for (let at = 0; at < MOST_PAGES; at++) {
        await settle(page);
        if (process.env.LOOKS) {
          const file = `${name.replaceAll(' ', '-')}-${width}-${theme}${at > 0 ? `-${at}` : ''}.png`;
          await page.screenshot({ path: join(process.env.LOOKS, file) });
        }
        const wrong = await page.evaluate(faults);
        if (wrong.length) found[`${width}, ${theme}, page ${at}`] = wrong;
        if (!(await scrollOn(page))) break;
      }
    }
  }
  expect(found).toEqual({});
});
