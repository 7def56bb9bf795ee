// Attention in space, on a real recording: links are the API's, can be pointed at and chosen, with the keyboard too.
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { SessionSummary } from '../src/lib/types';
import type { AttentionLinks } from '../src/views/attention/space/links';
import { recordedKeys } from './recordings';
import { launch } from './start.mjs';
import { afterwards, api, cellOf, measured, open, serve, type Server, settled, steady, until } from './support';

const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);
const selected = (page: Page) => Object.fromEntries(new URLSearchParams(new URL(page.url()).search));
let server: Server;
let last: number;
let flat: Browser;

beforeAll(async () => {
  flat = await launch('--disable-3d-apis');
  server = await serve([await recordedKeys()]);
  last = (await api<SessionSummary[]>(server, '/sessions'))[0].tokens - 1;
});
afterAll(() => flat?.close());

it('what flows to a token is drawn, turned, pointed at and chosen', async () => {
  const page = await open(`${server.url}/?view=attention&attention=space&full=attention&tokens=${last}&layer=5&head=3`);
  const room = test(page, 'space-room');
  const number = async (name: string) => Number(await room.getAttribute(`data-${name}`));
  await until(() => number('links'), { timeout: 40_000 }).toBeGreaterThan(100);
  const of = await api<AttentionLinks>(
    server,
    `/sessions/0/attention/links?tokens=${last}&span=128&without_first=true`,
  );
  await until(async () => [await number('layers'), await number('tokens'), await number('token')]).toEqual([
    30,
    of.tokens.length,
    last,
  ]);
  // By rollout, all of the state is somewhere before the first layer.
  expect(of.tokens.reduce((sum, token) => sum + token.shares[0], 0)).toBeCloseTo(1, 2);
  const most = of.tokens.reduce((a, b) => (b.shares[0] > a.shares[0] ? b : a));
  await until(() => test(page, 'space-sources').textContent()).toContain(String(most.token));

  // The strongest link is where the page says, and is the API's.
  await until(() => room.getAttribute('data-strongest'), { timeout: 20_000 }).toMatch(/\d/);
  const picture = async () => (await test(page, 'space-canvas').screenshot()).toString('base64');
  const before = await steady(picture);
  const place = async () => {
    const box = (await room.boundingBox())!;
    const [x, y] = (await room.getAttribute('data-strongest'))!.split(' ').map(Number);
    return [box.x + x, box.y + y] as const;
  };
  const at = of.links.share.indexOf(Math.max(...of.links.share));
  await page.mouse.move(...(await steady(place)));
  const tip = test(page, 'space-tip');
  // What is pointed at is a link of the API's.
  const { layer, head, found } = await settled(async () => {
    const named = /layer (\d+), head (\d+)/.exec((await tip.textContent()) ?? '');
    if (!named) return null;
    const [layer, head] = [Number(named[1]), Number(named[2])];
    const weight = await test(page, 'space-weight').textContent();
    const found = of.links.layer.findIndex(
      (one, i) => one === layer && of.links.head[i] === head && of.links.weight[i].toFixed(4) === weight,
    );
    return found < 0 ? null : { layer, head, found };
  });
  expect(of.links.share[found]).toBeGreaterThan(of.links.share[at] / 100);
  await page.mouse.click(...(await steady(place)));
  await until(() => selected(page)).toMatchObject({ layer: String(layer), head: String(head) });
  await until(() => selected(page).tokens).toMatch(/^\d+$/);
  await until(() => Number(selected(page).key) <= Number(selected(page).tokens)).toBe(true);

  // The keyboard turns it, and goes from token to token and from layer to layer.
  const token = Number(await steady(() => selected(page).tokens));
  await until(() => number('token')).toBe(token);
  await room.focus();
  await page.keyboard.press('Shift+ArrowRight');
  await until(picture).not.toBe(before);
  await page.keyboard.press('ArrowLeft');
  await until(() => selected(page).tokens).toBe(String(token - 1));
  await until(() => number('token'), { timeout: 20_000 }).toBe(token - 1);
  await page.keyboard.press('ArrowDown');
  await until(() => selected(page).layer).toBe(String(layer - 1));
  await page.keyboard.press('PageUp');
  await until(() => selected(page).head).toBe(String(Math.min(8, head + 1)));
  await until(() => test(page, 'attention-token').textContent()).toContain(`${token - 1} “`);
  await until(() => test(page, 'space-said').textContent()).toContain('through 30 layers');

  // One head alone, and what the token itself looks at.
  await test(page, 'space-fan').click();
  await test(page, 'space-alone').check();
  await until(() => number('links')).toBeLessThan(12 * of.layers.length + 1);
  await until(() => selected(page).attention).toBe('space fan alone');
});

it('without WebGL a sentence says what else there is, and where the token’s state comes from', async () => {
  const page = await flat.newPage({ viewport: { width: 1280, height: 720 } });
  afterwards(() => page.close());
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(`${server.url}/?view=attention&attention=space&tokens=${last}&layer=5&head=3`);
  await until(() => test(page, 'attention-space').textContent(), { timeout: 30_000 }).toContain('WebGL');
  await until(() => test(page, 'attention-space').textContent()).toMatch(/comes from.*%/);
  await test(page, 'attention-mode-rows').click();
  await until(() => test(page, 'attention-heatmap').count()).toBe(1);
  expect(errors).toEqual([]);
});

it('a token of the timeline has its attention row, and a head of the map its tensors in the graph', async () => {
  const page = await open(`${server.url}/?view=attention+graph&tokens=${last}&layer=5&head=3`, {
    viewport: { width: 1680, height: 1000 },
  });
  await until(() => test(page, 'attention-heatmap').count(), { timeout: 30_000 }).toBe(1);
  // A click on a bar of the timeline, wherever it is: the row of that token is there.
  const canvas = test(page, 'timeline-canvas');
  const { box } = await measured(canvas);
  let chosen = last;
  let part = 1;
  await until(async () => {
    part = part < 0.6 ? 0.97 : part - 0.04;
    await page.mouse.click(box.x + box.width * part, box.y + 62);
    chosen = Number(/^\d+/.exec(selected(page).tokens ?? '')?.[0] ?? last);
    return chosen;
  }).not.toBe(last);
  // A click can still be on its way: the row is that of the selection, whichever token that is in the end.
  await until(async () => {
    const shown = /^\s*(\d+) “/.exec((await test(page, 'attention-token').textContent()) ?? '')?.[1];
    chosen = Number(/^\d+/.exec(selected(page).tokens ?? '')?.[0] ?? -1);
    return Number(shown) === chosen && (await test(page, 'attention-said').textContent())?.includes(`${shown} “`);
  }).toBe(true);
  expect(chosen).not.toBe(last);

  // A head of another layer: the graph is of that layer, and the node that computes it is selected there.
  const map = test(page, 'attention-map-canvas');
  await map.scrollIntoViewIfNeeded();
  const head = await cellOf(map, 12, 4);
  await page.mouse.click(head.x, head.y);
  await until(() => selected(page)).toMatchObject({ layer: '12', head: '4' });
  await until(() => test(page, 'graph-canvas').getAttribute('data-layer')).toBe('12');
  await until(() => selected(page).node).toMatch(/^\d+$/);
  await until(() => test(page, 'graph-live').textContent()).toMatch(/FLASH_ATTN_EXT/);
});
