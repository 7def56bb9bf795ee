// Names, texts and paths out of a trace are shown as they are and do nothing; strangers get nothing.
import { expect, it } from 'vitest';
import { pointAround, quiet } from './quiet';
import { expectErrors, fetchHere, open, serve, steady, synthetic, until } from './support';

const VIEWS = ['graph', 'memory', 'table', 'analytics', 'compare', 'info', 'model', 'attention', 'layers'];

it('markup in the names of tensors, tokens, files and programs stays text in every view', async () => {
  const trace = synthetic('hostile.ggtrace', 'hostile', 2, 20);
  const server = await serve([trace, trace]);
  for (const view of VIEWS) {
    const page = await open(`${server.url}/?session=0&view=${view}&tokens=5&layer=1&with=1`);
    await until(() => page.locator(`[data-panel="${view}"]`).count(), { message: view }).toBe(1);
    const panels = () =>
      page.locator('[data-panel]').evaluateAll((all) => all.map((panel) => panel.getAttribute('data-panel')));
    await quiet(page);
    // Under the pointer too: tooltips are made of names.
    for (const panel of await steady(panels)) await pointAround(page, page.locator(`[data-panel="${panel}"]`));
    if (view === 'table')
      await until(() => page.locator('[data-test="table-grid"]').textContent()).toContain('<img src=x');
  }
});

it('a selection with markup in the address is shown as text', async () => {
  const server = await serve([synthetic('plain.ggtrace', 'llama', 2, 5)]);
  const harm = encodeURIComponent(`<img src=x onerror="document.title='harmed'">`);
  const page = await open(`${server.url}/?session=0&view=table&tensor=${harm}&op=${harm}`);
  await until(() => page.locator('[data-chip="tensor"]').textContent()).toContain('<img src=x');
  await quiet(page);
});

it('with a token the page opens once by its address, and never without', async () => {
  const server = await serve([synthetic('token.ggtrace', 'llama', 2, 5)], ['--auth-token', 's3cret']);
  expect((await fetchHere(`${server.url}/api/v1/sessions`)).status).toBe(401);
  const page = await open(`${server.url}/?token=s3cret&view=table`);
  await expect.poll(() => page.locator('[data-test="table-row"]').count()).toBeGreaterThan(3);
  await until(() => page.url()).not.toContain('s3cret');
  await page.reload();
  await expect.poll(() => page.locator('[data-test="table-row"]').count()).toBeGreaterThan(3);
});

it('markup that comes to life is found', async () => {
  const server = await serve([synthetic('plain.ggtrace', 'llama', 2, 5)]);
  const page = await open(`${server.url}/?session=0&view=table`);
  await page.evaluate(() => {
    document.body.append(document.createElement('div'));
    document.body.lastElementChild!.innerHTML = `<img src="x" onerror="document.title='harmed'">`;
  });
  await expectErrors(/came to life/);
});
