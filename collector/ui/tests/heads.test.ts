// What heads do, on the page, is what the API says, of a real llama-server that was recorded with --capture attention.
import type { Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import type { Heads } from '../src/views/heads/types';
import { recordedAgain } from './recordings';
import { api, atOnce, cellOf, open, serve, type Server, synthetic, until } from './support';

const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);
const selected = (page: Page) => Object.fromEntries(new URLSearchParams(new URL(page.url()).search));
let server: Server;
beforeAll(async () => {
  server = await serve([await recordedAgain()]);
});

/** Where the cell of a head is. */
async function headAt(page: Page, row: number, head: number) {
  const canvas = test(page, 'heads-map-canvas');
  await until(() => canvas.getAttribute('data-layers'), { timeout: 30_000 }).toBe('30');
  return cellOf(canvas, row, head);
}

it('a cell of the map, a row of the table and the head beside it are the API’s numbers, and a click selects', async () => {
  const all = await api<Heads>(server, '/sessions/0/heads?pairs=true');
  expect(all.heads.length).toBe(270);
  const of = (layer: number, head: number) => all.heads.find((h) => h.layer === layer && h.head === head)!;
  const page = await open(`${server.url}/?view=heads&full=heads`);

  const at = await headAt(page, 17, 4);
  await page.mouse.move(at.x, at.y);
  await until(() => test(page, 'heads-map-tip').textContent()).toContain('layer 17, head 4');
  await until(() => test(page, 'heads-map-tip').textContent()).toContain(of(17, 4).induction!.toFixed(3));
  await page.mouse.click(at.x, at.y);
  await until(() => [selected(page).layer, selected(page).head]).toEqual(['17', '4']);
  const row = page.locator('[data-place="17.4"]');
  await until(() => row.getAttribute('class')).toContain('chosen');
  await until(() => row.textContent()).toContain(of(17, 4).kind!.name);

  // With Shift: beside it, with their divergence.
  const other = await headAt(page, 11, 1);
  await page.keyboard.down('Shift');
  await page.mouse.click(other.x, other.y);
  await page.keyboard.up('Shift');
  await until(() => selected(page).heads).toBe('kind 11.1');
  const [a, b] = [11 * 9 + 1, 17 * 9 + 4];
  const pair = all.divergence.pairs![(a * (2 * 270 - a - 1)) / 2 + b - a - 1]!;
  await until(() => test(page, 'heads-divergence').textContent()).toContain(pair.toFixed(3));

  // The table is sorted by what its heading says.
  await page.locator('[data-column="previous"]').click();
  const best = Math.max(...all.heads.map((h) => h.previous!));
  await until(() => test(page, 'heads-row').first().textContent()).toContain(best.toFixed(3));

  // What colours say is part of the link.
  await test(page, 'heads-paint').selectOption('induction');
  await until(() => selected(page).heads).toBe('induction 11.1');
  await page.reload();
  await until(() => test(page, 'heads-paint').inputValue(), { timeout: 30_000 }).toBe('induction');
  await until(() => test(page, 'heads-beside').textContent()).toContain('11.1');
  await until(() => test(page, 'heads-legend').textContent()).toContain('induction score');

  // Arrows go from head to head.
  await page.locator('[aria-label^="All layers and heads"]').focus();
  await page.keyboard.press('ArrowDown');
  await until(() => selected(page).layer).toBe('18');
});

it('1,024 heads are one picture, and what the pointer is over is said at once', async () => {
  const real = await api<Heads>(server, '/sessions/0/heads');
  // The answer of a model with 32 layers of 32 heads: the real one's heads again and again.
  const layers = Array.from({ length: 32 }, (_, layer) => layer);
  const heads = layers.flatMap((layer) =>
    layers.map((head) => ({ ...real.heads[(layer * 32 + head) % real.heads.length], layer, head })),
  );
  const many: Heads = { ...real, heads, uniform: layers.map((layer) => ({ ...real.uniform[0], layer, n_head: 32 })) };
  const page = await open('about:blank');
  await page.route('**/sessions/0/heads*', (route) => route.fulfill({ json: many }));
  await page.goto(`${server.url}/?view=heads&full=heads`);
  const canvas = test(page, 'heads-map-canvas');
  await until(() => canvas.getAttribute('data-heads'), { timeout: 30_000 }).toBe('32');
  // Only the rows on the screen are elements.
  await until(() => test(page, 'heads-row').count()).toBeLessThan(80);
  const took: number[] = [];
  // Beside each, how long it takes where nothing changes: on a busy machine frames come late.
  const idle: number[] = [];
  for (const colours of ['first', 'entropy_normalized', 'cluster', 'kind', 'distance']) {
    idle.push(
      await atOnce(() =>
        page.evaluate(async () => {
          const begin = performance.now();
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          return performance.now() - begin;
        }),
      ),
    );
    took.push(
      await atOnce(() =>
        page.evaluate(async (name) => {
          const select = document.querySelector<HTMLSelectElement>('[data-test="heads-paint"]')!;
          const begin = performance.now();
          select.value = name;
          select.dispatchEvent(new Event('change', { bubbles: true }));
          // The picture is drawn in the next frame, and seen in the one after.
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          return performance.now() - begin;
        }, colours),
      ),
    );
  }
  const median = (all: number[]) => all.sort((a, b) => a - b)[2];
  expect(median(took) - median(idle), `${took.join(' ')}; without a change ${idle.join(' ')}`).toBeLessThan(120);
});

it('a recording without attention says how to record it', async () => {
  const server = await serve([synthetic('plain.ggtrace', 'llama')]);
  const page = await open(`${server.url}/?view=heads`);
  await until(() => test(page, 'attention-command').textContent()).toContain('--capture attention');
});
