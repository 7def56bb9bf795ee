// Two recordings of one prompt beside each other on the page: what the API says of every head, and both heatmaps.
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { SessionSummary } from '../src/lib/types';
import type { AttentionAgainst } from '../src/views/attention/against';
import type { AttentionMatrix } from '../src/views/attention/types';
import { recordedKeys, recordedKeysQ8, recordedOther } from './recordings';
import { api, cellOf, open, serve, type Server, until } from './support';

const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);
const selected = (page: Page) => Object.fromEntries(new URLSearchParams(new URL(page.url()).search));

const matrix = (server: Server, session: number, token: number, layer: number, head: number) =>
  api<AttentionMatrix>(server, `/sessions/${session}/attention/matrix?tokens=0..${token}&layer=${layer}&head=${head}`);

it('two runs of one prompt, with another cache, are compared head by head and cell by cell', async () => {
  const server = await serve([await recordedKeys(), await recordedKeysQ8()]);
  const page = await open(`${server.url}/?session=0&view=attention&attention=against&full=attention`, {
    viewport: { width: 1600, height: 900 },
  });
  await until(() => test(page, 'against').getAttribute('data-with'), { timeout: 30_000 }).toBe('1');
  const canvas = test(page, 'attention-map-canvas');
  await until(() => canvas.getAttribute('data-layers'), { timeout: 30_000 }).toBe('30');
  const sessions = await api<SessionSummary[]>(server, '/sessions');
  const end = Math.min(sessions[0].tokens, sessions[1].tokens) - 1;
  const all = await api<AttentionAgainst>(server, `/sessions/0/attention/against?with=1&tokens=0..${end}`);
  expect(all.heads.length).toBe(270);
  await until(() => test(page, 'against-tokens').textContent()).toContain(`${all.tokens} tokens compared`);
  // It begins with the head that differs most.
  const most = all.heads.reduce((a, b) => ((b.mean ?? 0) > (a.mean ?? 0) ? b : a));
  expect(most.mean).toBeGreaterThan(0);
  await until(() => selected(page)).toMatchObject({ layer: String(most.layer), head: String(most.head) });
  await until(() => test(page, 'against-head').textContent()).toContain(most.mean!.toPrecision(3));

  // A head that is chosen in the map is there in both, and so is the difference of a cell.
  const cell = await cellOf(canvas, 17, 4);
  await page.mouse.click(cell.x, cell.y);
  await until(() => selected(page)).toMatchObject({ layer: '17', head: '4' });
  const [a, b] = [await matrix(server, 0, end, 17, 4), await matrix(server, 1, end, 17, 4)];
  const token = all.by_token.at(-1)!.token;
  const of = (answer: AttentionMatrix) => {
    const row = answer.rows.findIndex((one) => one.token === token);
    const first = answer.rows[row].spans[0].first;
    return { keys: answer.keys.slice(first), weights: answer.heads[0].weights[row] as number[] };
  };
  const [x, y] = [of(a), of(b)];
  // The cell that differs most in the last row that both have.
  const apart = x.weights.map((weight, i) => weight - y.weights[i]);
  const column = apart.reduce((at, value, i) => (Math.abs(value) > Math.abs(apart[at]) ? i : at), 0);
  const key = x.keys[column].token!;
  await page.goto(
    `${server.url}/?session=0&view=attention&attention=against&full=attention&layer=17&head=4&tokens=${token}&key=${key}&with=1`,
  );
  const said = (name: string) => test(page, `against-${name}-said`).textContent();
  await until(() => said('here'), { timeout: 30_000 }).toContain(x.weights[column].toFixed(4));
  await until(() => said('there')).toContain(y.weights[column].toFixed(4));
  await until(() => said('apart')).toContain(Math.abs(apart[column]).toFixed(4).slice(0, 5));
  // All three have the same columns.
  const columns = () =>
    Promise.all(
      ['here', 'there', 'apart'].map((name) =>
        test(page, `against-${name}-heatmap`).getAttribute('data-columns', { timeout: 1000 }),
      ),
    );
  await until(async () => new Set(await columns()).size === 1 && Number((await columns())[0]) > 0).toBe(true);
});

it('another prompt is refused in the words of the API, and one recording alone says what is missing', async () => {
  const file = await recordedKeys();
  const two = await serve([file, await recordedOther()]);
  const page = await open(`${two.url}/?session=0&view=attention&attention=against`);
  const said = page.locator('[data-panel="attention"]');
  await until(() => said.textContent(), { timeout: 30_000 }).toMatch(/The runs part at token|same prompt/);
  const alone = await serve([file]);
  const empty = await open(`${alone.url}/?session=0&view=attention&attention=against`);
  await until(() => empty.locator('[data-panel="attention"]').textContent(), { timeout: 30_000 }).toContain(
    'no other recording',
  );
});
