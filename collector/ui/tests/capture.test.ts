// What is captured of a program that runs is switched from the page: no restart, and attention appears where there was none.
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import type { CaptureState } from '../src/components/capture/settings';
import type { AttentionMap } from '../src/views/attention/types';
import type { SessionSummary } from '../src/lib/types';
import { api, open, record, refusals, serve, type Server, stays, steady, synthetic, until } from './support';

const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);
const capture = (server: Server) => api<CaptureState>(server, '/sessions/0/capture');

it('a view without captures switches them on while the program runs, and its picture comes', async () => {
  const server = await record('switched.ggtrace', ['--ring-size', '64M']);
  await server.ask('Hello.', 4);
  const page = await open('about:blank');
  const refused = refusals(page);
  await page.goto(`${server.url}/?view=attention&layer=5&head=3`);
  await until(() => test(page, 'capture-here').textContent(), { timeout: 30_000 }).toContain('still runs');
  await until(() => test(page, 'capture').textContent()).toContain('off');
  // Of new tokens nothing is asked that nobody captures.
  let asked = 0;
  page.on('request', (request) => (asked += Number(request.url().includes('/attention'))));
  await server.ask('Count to ten.', 30);
  await stays(
    2000,
    () => asked,
    (asked) => expect(asked).toBe(0),
  );
  expect(refused).toEqual([]);
  await test(page, 'capture-start').click();
  await until(() => test(page, 'capture-here').textContent()).toMatch(/will be captured|Captured from now on/);
  let enough = false;
  const answers = (async () => {
    // llama.cpp computes nothing of a prompt that it knows, and builds no graph for it.
    for (let i = 0; !enough; i++) await server.ask(`Where are the ${i + 2} keys to the cabinet?`, 30);
  })();
  await until(() => test(page, 'attention-heatmap').count(), { timeout: 60_000 }).toBe(1);
  enough = true;
  await answers;
  const state = await capture(server);
  expect(state.now.names).toEqual(['attention']);
  // It shows what the API has, and says that it is not behind.
  await until(() => test(page, 'behind').getAttribute('data-behind'), { timeout: 30_000 }).toBe('0');
  await until(() => test(page, 'behind').textContent()).toBe('up to date');
  await until(async () => {
    const last = (await api<SessionSummary[]>(server, '/sessions'))[0].tokens - 1;
    const { layers, refused } = await api<AttentionMap>(server, `/sessions/0/attention/map?tokens=${last}`);
    const shown = (await test(page, 'attention-token').textContent()) ?? '';
    return [layers.length, refused.length, shown.trim().startsWith(`${last} “`)];
  }).toEqual([30, 0, true]);

  // A token from before that has none, and the page says from which one on there is some.
  await page.goto(`${server.url}/?view=attention&layer=5&head=3&tokens=1`);
  await until(() => test(page, 'attention-newest').count(), { timeout: 30_000 }).toBe(1);
  await test(page, 'attention-newest').click();
  await until(() => test(page, 'attention-heatmap').count(), { timeout: 30_000 }).toBe(1);
});

it('the form says what a capture takes, what is wrong with it, and switches limits and all of it off', async () => {
  const server = await record('form.ggtrace', ['--capture', 'attention', '--ring-size', '64M']);
  await server.ask('Hello.', 4);
  const page = await open(`${server.url}/?view=layers`);
  await until(() => test(page, 'capture-here').count(), { timeout: 30_000 }).toBe(1);
  await test(page, 'capture').click();
  await until(() => test(page, 'capture-now').textContent()).toContain('Now: attention, since token 0');
  // What is said of a choice moves nothing below somebody's hand.
  const place = async () => (await test(page, 'capture-set-values').boundingBox())?.y;
  const before = await steady(place);
  await test(page, 'capture-set-layers').check();
  await test(page, 'capture-layers').fill('0-3');
  await until(() => test(page, 'capture-estimate').textContent()).toContain('About');
  await until(() => place()).toBe(before);
  await until(() => test(page, 'capture-estimate').textContent()).toMatch(/About [\d.]+ KiB of a token/);
  // What the server refuses is said in its words before anything is changed, and cannot be sent.
  await test(page, 'capture-stats').check();
  await until(() => test(page, 'capture-error').textContent()).toContain('statistics of it would not do');
  await until(() => test(page, 'capture-apply').isDisabled()).toBe(true);
  await test(page, 'capture-set-attention').uncheck();
  await test(page, 'capture-layers').fill('3-1');
  await until(() => test(page, 'capture-error').textContent()).toContain('ends before it begins');
  await test(page, 'capture-layers').fill('0-3');
  await test(page, 'capture-globs').fill('lout-*');
  await until(() => test(page, 'capture-unmatched').textContent()).toContain('l_out');
  await test(page, 'capture-globs').fill('');
  await test(page, 'capture-every').fill('2');
  await test(page, 'capture-budget').fill('0.001');
  await until(() => test(page, 'capture-apply').isEnabled()).toBe(true);
  await test(page, 'capture-apply').click();
  await until(() => test(page, 'capture-now').textContent()).toContain('Next: layers');
  await until(
    async () => {
      await server.ask('Count to ten.', 30);
      return (await capture(server)).now;
    },
    { timeout: 30_000 },
  ).toEqual({
    names: ['layers'],
    layers: '0-3',
    heads: '',
    tokens: '',
    every: 2,
    statistics: true,
    as_f16: false,
    budget: 1049,
  });
  await until(() => test(page, 'capture-now').textContent()).toContain('one of 2 tokens of an answer');
  // What the budget has left out is counted, and said.
  for (const number of ['two', 'three']) await server.ask(`Count to ${number}.`, 30);
  await until(() => test(page, 'capture-sums').textContent(), { timeout: 30_000 }).toMatch(/left out for the budget/);
  await test(page, 'capture-stop').click();
  await until(async () => {
    await server.ask('Hello again.', 20);
    return (await capture(server)).now.names;
  }).toEqual([]);
  await until(() => test(page, 'capture-now').textContent()).toContain('Now: nothing');
});

it('of a file there is nothing to switch', async () => {
  const server = await serve([synthetic('over.ggtrace', 'llama', 2, 20)]);
  const page = await open(`${server.url}/?view=attention`);
  await until(() => test(page, 'attention-command').count()).toBe(1);
  await until(() => test(page, 'capture').count()).toBe(0);
  await until(() => test(page, 'capture-here').count()).toBe(0);
  expect((await capture(server)).can_change).toBe(false);
});
