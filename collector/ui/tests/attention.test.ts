// Attention on the page is what the API says, of a real llama-server that was recorded with --capture attention.
import type { Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import type { GraphPart, SessionSummary } from '../src/lib/types';
import type { Attention, AttentionMap, AttentionMatrix } from '../src/views/attention/types';
import { recordedHarm } from './recordings';
import { api, cellOf, measured, MODEL, open, record, serve, type Server, steady, synthetic, until } from './support';

const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);
const selected = (page: Page) => Object.fromEntries(new URLSearchParams(new URL(page.url()).search));
const CAPTURE = ['--capture', 'attention,values', '--ring-size', '64M'];

const lastToken = async (server: Server) => (await api<SessionSummary[]>(server, '/sessions'))[0].tokens - 1;

/** A run that has ended, and its last token. */
let server: Server;
let last: number;
beforeAll(async () => {
  server = await serve([await recordedHarm()], ['--model', MODEL]);
  last = await lastToken(server);
});

const attention = (server: Server, token: number, layer: number, head: number) =>
  api<Attention>(server, `/sessions/0/attention?tokens=${token}&layer=${layer}&head=${head}`);

/** Numbers that the heatmap says of itself. */
async function heatmap(page: Page) {
  const of = await measured(test(page, 'attention-heatmap'), 'rows', 'columns', 'cell', 'high', 'left', 'top');
  const at = (row: number, column: number) => ({
    x: of.box.x + of.left + (column + 0.5) * of.cell,
    y: of.box.y + of.top + (row + 0.5) * of.high,
  });
  return { rows: of.rows, columns: of.columns, at };
}

it('a cell is the API’s number, and a click, the arrows and the link say which cell it is', async () => {
  const page = await open(`${server.url}/?view=attention&tokens=${last}&layer=5&head=3&full=attention`);
  const of = await api<AttentionMatrix>(server, `/sessions/0/attention/matrix?tokens=0..${last}&layer=5&head=3`);
  const own = of.rows.at(-1)!;
  const context = of.rows.filter((row) => row.token >= of.keys[own.spans[0].first].token!);
  await until(async () => {
    const { rows, columns } = await heatmap(page);
    return [rows, columns];
  }).toEqual([context.length, own.spans[0].n]);
  const map = await heatmap(page);
  for (const back of [0, 7, 20]) {
    const token = last - back;
    const exact = await attention(server, token, 5, 3);
    const column = exact.keys.length - 3;
    const { x, y } = map.at(map.rows - 1 - back, column);
    await page.mouse.move(x, y);
    await until(() => test(page, 'attention-weight').textContent()).toBe(exact.heads[0].weights[column]!.toFixed(4));
    await until(() => test(page, 'attention-tip').textContent()).toContain(`${token} “`);
  }
  // What comes later is not seen, and is no zero.
  const later = map.at(2, map.columns - 1);
  await page.mouse.move(later.x, later.y);
  await until(() => test(page, 'attention-weight').textContent()).toBe('not seen');
  const { x, y } = map.at(map.rows - 8, 3);
  await page.mouse.click(x, y);
  const key = of.keys[own.spans[0].first + 3].token!;
  await until(() => selected(page)).toMatchObject({
    tokens: String(last - 7),
    key: String(key),
    layer: '5',
    head: '3',
  });
  await until(() => test(page, 'attention-said').textContent()).toContain(`${last - 7} “`);
  await test(page, 'attention-scroller').focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowRight');
  await until(() => selected(page)).toMatchObject({ tokens: String(last - 6), key: String(key + 1) });
  const exact = await attention(server, last - 6, 5, 3);
  const weight = exact.heads[0].weights[exact.keys.findIndex((of) => of.token === key + 1)]!;
  await until(() => test(page, 'attention-said').textContent()).toContain(weight.toFixed(4));
  const said = await steady(() => test(page, 'attention-said').textContent());
  const again = await open(await steady(() => page.url()));
  await until(() => test(again, 'attention-said').textContent(), { timeout: 20_000 }).toBe(said);
});

it('the stages of a key are the API’s, and texts of tokens stay text', async () => {
  const key = last - 2;
  const page = await open(
    `${server.url}/?view=attention&tokens=${last}&layer=7&head=2&key=${key}&attention=stages&full=attention`,
  );
  const exact = await attention(server, last, 7, 2);
  const at = exact.keys.findIndex((of) => of.token === key);
  const steps = test(page, 'attention-steps');
  await until(() => steps.textContent(), { timeout: 20_000 }).toContain(exact.heads[0].products[at]!.toFixed(3));
  for (const stage of ['scaled', 'masked'] as const)
    await until(() => steps.textContent()).toContain(exact.heads[0][stage][at]!.toFixed(3));
  await until(() => steps.textContent()).toContain(exact.heads[0].weights[at]!.toFixed(4));
  await until(() => test(page, 'attention-stages').getAttribute('data-keys')).toBe(String(exact.keys.length));
  // The formula is set, with fonts from here.
  await until(() => steps.locator('.katex').count()).toBeGreaterThan(2);
  // The vectors are those of the key, and their products add up to what the stages begin with.
  const path = `/sessions/0/attention?tokens=${last}&layer=7&head=2&vectors=true&key=${key}`;
  const { heads, vectors } = await api<Attention>(server, path);
  const sum = heads[0].query!.reduce<number>((sum, q, i) => sum + q! * vectors!.keys[0][0][i]!, 0);
  expect(Math.abs(sum - exact.heads[0].products[at]!)).toBeLessThan(0.02 * Math.abs(sum) + 0.02);
  await test(page, 'attention-pane-vectors').click();
  const adds = `length ${heads[0].contribution!.toFixed(3)} to the residual stream`;
  await until(() => test(page, 'attention-contribution').textContent()).toContain(adds);
  for (const name of ['query', 'key', 'product', 'value', 'weighted'])
    await until(() => test(page, `strip-${name}`).getAttribute('data-elements')).toBe('64');
  await test(page, 'attention-pane-text').click();
  await until(() => test(page, 'attention-text').textContent()).toContain('<img');
  await test(page, 'attention-pane-lines').click();
  await until(() => test(page, 'attention-lines').getAttribute('data-lines')).not.toBe('0');
  await page.locator('[data-explain="What attention is"]').click();
  await until(() => test(page, 'explanation').locator(':scope:popover-open .katex').count()).toBeGreaterThan(0);
  await page.keyboard.press('Escape');
  await until(() => page.locator(':popover-open').count()).toBe(0);
  await until(() => selected(page).tokens, { message: 'Esc has closed the explanation and nothing else' }).toBe(
    String(last),
  );
});

it('a head that is chosen in the map is chosen in every view, and its node in the graph', async () => {
  const page = await open(`${server.url}/?view=attention&tokens=${last}&layer=5&head=3`);
  const canvas = test(page, 'attention-map-canvas');
  await until(() => canvas.getAttribute('data-layers'), { timeout: 20_000 }).toBe('30');
  const map = await api<AttentionMap>(server, `/sessions/0/attention/map?tokens=${last}`);
  expect([map.layers.length, map.layers[0].heads.length, map.refused]).toEqual([30, 9, []]);
  const { x, y } = await cellOf(canvas, 17, 4);
  await page.mouse.move(x, y);
  const cell = map.layers[17].heads[4];
  await until(() => test(page, 'attention-map-tip').textContent()).toContain('layer 17, head 4');
  await until(() => test(page, 'attention-map-tip').textContent()).toContain(`${cell.entropy!.toFixed(2)} bits`);
  await page.mouse.click(x, y);
  await until(() => selected(page)).toMatchObject({ layer: '17', head: '4' });
  const exact = await attention(server, last, 17, 4);
  await until(() => selected(page).node).toBe(String(exact.node));
  const [graph] = (
    await api<{ items: { graph: number; evaluations: number }[] }>(server, '/sessions/0/graphs')
  ).items.sort((a, b) => b.evaluations - a.evaluations);
  const whole = await api<GraphPart>(server, `/sessions/0/graphs/${graph.graph}`);
  const node = whole.tensors.find((tensor) => tensor.id === exact.node)!;
  expect([node.op, node.layer]).toEqual(['FLASH_ATTN_EXT', 17]);
  // Another token is chosen by the page's own keys, not by the map's, and its row is there.
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await page.keyboard.press('ArrowLeft');
  await until(() => test(page, 'attention-token').textContent()).toMatch(new RegExp(`^\\s*${last - 1} “`));
});

it('rows come while the model answers', async () => {
  const server = await record('grows.ggtrace', CAPTURE);
  const page = await open(`${server.url}/?view=attention&layer=5&head=3`);
  let enough = false;
  const answers = (async () => {
    while (!enough) await server.ask('Count to fifty.', 100);
  })();
  const newest = async () => Number(/to (\d+)/.exec((await test(page, 'attention-window').textContent()) ?? '')?.[1]);
  await until(() => test(page, 'attention-heatmap').count(), { timeout: 30_000 }).toBe(1);
  const seen = new Set<number>();
  await until(async () => seen.add(await newest()).size, { timeout: 30_000 }).toBeGreaterThan(3);
  enough = true;
  await answers;
  await until(async () => (await newest()) - (await lastToken(server)), { timeout: 20_000 }).toBe(0);
  await until(() => test(page, 'attention-refused').count(), { message: 'no row was refused' }).toBe(0);
});

it('a trace without captures says how to record them', async () => {
  const server = await serve([synthetic('none.ggtrace', 'llama', 2, 20)]);
  const page = await open(`${server.url}/?view=attention`);
  await until(() => test(page, 'attention-command').textContent()).toContain('ggscope record --capture attention');
});
