// What each view shows is what the API says, and what is clicked in one view moves the others.
import type { Page } from 'playwright-core';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { timeInTotal } from '../src/lib/batch';
import { time } from '../src/lib/format';
import type {
  EvaluationSummary,
  GraphPart,
  GraphSummary,
  LayerSum,
  Operator,
  Page as List,
  Region,
} from '../src/lib/types';
import { api, atOnce, measured, open, serve, type Server, settled, stays, steady, synthetic, until } from './support';

const selected = (page: Page) => new URLSearchParams(new URL(page.url()).search);
const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);

let server: Server;
beforeAll(async () => {
  server = await serve([synthetic('a.ggtrace', 'llama', 30, 100), synthetic('b.ggtrace', 'llama', 30, 40)]);
});

/** The token, layer, … that the address says. */
function selectionOf(page: Page) {
  return Object.fromEntries([...selected(page)].filter(([name]) => !['view', 'session'].includes(name)));
}

describe('the graph', () => {
  it('shows of layer 5 what the API answers, and says how much it is', async () => {
    const page = await open(`${server.url}/?session=0&view=graph&tokens=9&layer=5`);
    const graphs = await api<List<GraphSummary>>(server, '/sessions/0/graphs');
    const decode = graphs.items.find((g) => g.evaluations === 100)!;
    const part = await api<GraphPart>(server, `/sessions/0/graphs/${decode.graph}?layer=5`);
    const of = (category: string) => part.tensors.filter((t) => t.category === category).length;
    const counts = test(page, 'graph-counts');
    await until(() => counts.getAttribute('data-layer')).toBe('5');
    const names = ['layer-nodes', 'infrastructure', 'inputs', 'outputs', 'tensors', 'edges'];
    const shown = () => Promise.all(names.map(async (name) => Number(await counts.getAttribute(`data-${name}`))));
    const expected = [of('layer'), of('infrastructure'), of('input'), of('output'), part.tensors.length];
    await until(shown).toEqual([...expected, part.edges.length]);
    expect(of('layer')).toBeGreaterThan(20);
  });

  it('finds a node by its name, and everything else follows', async () => {
    const page = await open(`${server.url}/?session=0&view=graph&tokens=9`);
    await until(() => test(page, 'graph-counts').getAttribute('data-tensors')).not.toBe(null);
    await page.keyboard.press('/');
    await page.keyboard.type('ffn_out-7');
    await page.keyboard.press('Enter');
    await until(() => selected(page).get('tensor')).toBe('ffn_out-7');
    await until(() => test(page, 'inspector-name').textContent()).toBe('ffn_out-7');
    await page.locator('[data-tab="table"]').click();
    await until(() => page.locator('[data-test="table-row"]').first().textContent()).toContain('ffn_out-7');
  });
});

describe('the trace table', () => {
  it('says how many executions there are, and filters and sorts on the server', async () => {
    const page = await open(`${server.url}/?session=0&view=table&layer=5`);
    const all = await api<List<Operator>>(server, '/sessions/0/operators?layer=5&sort=-duration&limit=1');
    await until(() => test(page, 'table-total').textContent()).toContain(all.total.toLocaleString('en-US'));
    const order = () => page.locator('[data-column="duration"]').getAttribute('aria-sort');
    await test(page, 'sort-duration').click();
    if ((await settled(order)) === 'ascending') await test(page, 'sort-duration').click();
    await until(order).toBe('descending');
    await until(() => page.locator('[data-test="table-row"]').first().textContent()).toContain(all.items[0].name);
  });

  it('scrolls to its very end, where the last execution is', async () => {
    const page = await open(`${server.url}/?session=0&view=table`);
    const { total } = await api<List<Operator>>(server, '/sessions/0/operators?limit=1');
    const last = await api<List<Operator>>(server, `/sessions/0/operators?limit=1&offset=${total - 1}`);
    await until(() => page.locator('[data-test="table-row"]').count()).toBeGreaterThan(3);
    await test(page, 'table-grid').focus();
    await page.keyboard.press('End');
    await until(() => page.locator('[data-test="table-row"]').last().textContent()).toContain(last.items[0].name);
  });

  it('a click on a row selects its token and node, and the graph and the details show them', async () => {
    const page = await open(`${server.url}/?session=0&view=graph+table&layer=5`);
    await page.locator('[data-test="table-row"]').filter({ hasText: 'Vcur-5' }).first().click();
    await until(() => selected(page).get('tensor')).toBe('Vcur-5');
    await until(() => selected(page).get('tokens')).toMatch(/^0/);
    await until(() => test(page, 'inspector-name').textContent()).toBe('Vcur-5');
    await until(() => test(page, 'graph-live').textContent()).toContain('Vcur-5');
  });

  it('a wrong filter is said at its field', async () => {
    const page = await open(`${server.url}/?session=0&view=table`);
    const op = test(page, 'filter-op');
    await op.fill('[');
    await op.press('Enter');
    await until(() => test(page, 'filter-op-error').textContent()).toContain('op');
  });
});

describe('the memory heatmap', () => {
  it('names the region under the cursor, as the API has it', async () => {
    const page = await open(`${server.url}/?session=0&view=memory`);
    const disk = await api<List<Region>>(server, '/sessions/0/memory?memory=disk&limit=1000');
    const canvas = page
      .locator('[data-test="memory-track"][data-memory="DISK"] canvas[data-test="memory-canvas"]')
      .first();
    await until(() => canvas.isVisible()).toBe(true);
    const largest = disk.items.reduce((a, b) => (b.bytes > a.bytes ? b : a));
    await canvas.focus();
    // The first region by the keyboard; the largest by the pointer.
    await page.keyboard.press('ArrowRight');
    await until(() => test(page, 'memory-live').textContent()).toContain(disk.items[0].name);
    const end = Math.max(...disk.items.map((r) => r.start + r.bytes), 98_000_000);
    const { box } = await measured(canvas);
    await page.mouse.move(box.x + (box.width * (largest.start + largest.bytes / 2)) / end, box.y + box.height / 2);
    await until(() => test(page, 'memory-tip').textContent()).toContain(largest.name);
    await page.mouse.down();
    await page.mouse.up();
    await until(() => selected(page).get('tensor')).toBe(largest.name);
    await until(() => test(page, 'inspector-name').textContent()).toBe(largest.name);
  });

  it('zooms to what is dragged over, while all of the file is shown', async () => {
    const page = await open(`${server.url}/?session=0&view=memory`);
    const canvas = page
      .locator('[data-test="memory-track"][data-memory="DISK"] canvas[data-test="memory-canvas"]')
      .first();
    await until(() => canvas.isVisible()).toBe(true);
    const { box } = await measured(canvas);
    const at = (share: number) => page.mouse.move(box.x + box.width * share, box.y + box.height / 2, { steps: 4 });
    await at(0.5);
    await page.mouse.down();
    await at(0.6);
    await page.mouse.up();
    const [from, to] = await settled(() => selected(page).get('disk')?.split('..').map(Number));
    const end = Math.max(98_000_000, to);
    expect(from / end).toBeCloseTo(0.5, 1);
    expect((to - from) / end).toBeCloseTo(0.1, 1);
    expect(to - from).toBeLessThan(end * 0.12);
  });

  it('has a cell for each expert that was read, and none for those that were not', async () => {
    const moe = await serve([synthetic('moe.ggtrace', 'experts', 1, 50)]);
    const page = await open(`${moe.url}/?session=0&view=memory`);
    const all = await api<List<Region>>(moe, '/sessions/0/memory?memory=disk&limit=1000');
    const experts = all.items.filter((r) => r.expert !== null).map((r) => r.expert);
    expect(experts).toEqual([0, 1, 2, 3, 4, 5]);
    const canvas = page
      .locator('[data-test="memory-track"][data-memory="DISK"] canvas[data-test="memory-canvas"]')
      .first();
    await canvas.focus();
    const said = new Set<string>();
    for (let i = 0; i < all.items.length; i++) {
      const before = await atOnce(() => test(page, 'memory-live').textContent());
      await page.keyboard.press('ArrowRight');
      const text = await settled(async () => {
        const now = await test(page, 'memory-live').textContent();
        return now !== before || i === all.items.length - 1 ? (now ?? '') : null;
      });
      for (const expert of text.matchAll(/expert (\d+)/g)) said.add(expert[1]);
    }
    expect([...said].sort()).toEqual(['0', '1', '2', '3', '4', '5']);
  });
});

describe('analytics', () => {
  it('the bars of a chart add up to what the API says', async () => {
    const page = await open(`${server.url}/?session=0&view=analytics`);
    const layers = await api<LayerSum[]>(server, '/sessions/0/analytics/layers');
    // What comes above it moves it: a card asks when it is seen.
    await until(async () => {
      await page.locator('[data-card="layers"]').scrollIntoViewIfNeeded();
      return test(page, 'table-layers').isEnabled();
    }).toBe(true);
    await test(page, 'table-layers').click();
    const rows = page.locator('[data-test="numbers-layers"] tbody tr');
    await until(() => rows.count()).toBe(layers.length);
    const sum = async () => {
      const names = await page.locator('[data-test="numbers-layers"] th').allTextContents();
      const at = names.findIndex((name) => /operators/i.test(name));
      const cells = await rows.evaluateAll(
        (rows, at) => rows.map((row) => Number(row.querySelectorAll('td')[at].textContent!.replace(/[^\d]/g, ''))),
        at,
      );
      return cells.reduce((a, b) => a + b, 0);
    };
    await until(sum).toBe(layers.reduce((n, l) => n + l.operators, 0));
  });
});

describe('compare', () => {
  it('a trace beside another: each operator of both, and the difference', async () => {
    const page = await open(`${server.url}/?session=0&view=compare&with=1`);
    await until(() => test(page, 'compare-row').count()).toBeGreaterThan(5);
    await until(() => test(page, 'compare-row').filter({ hasText: 'MUL_MAT' }).count()).toBeGreaterThan(0);
    await until(() => test(page, 'compare-headline').textContent()).toMatch(/a token|the same time/);
  });
});

describe('the selection', () => {
  it('comes back when the page is loaded again', async () => {
    const page = await open(`${server.url}/?session=1&view=table+memory&tokens=7..9&layer=5&op=MUL_MAT`);
    await until(() => page.locator('[data-test="table-row"]').count()).toBeGreaterThan(1);
    const shown = async () => ({ ...selectionOf(page), total: await test(page, 'table-total').textContent() });
    const before = await steady(shown);
    await page.reload();
    await until(shown).toEqual(before);
    await until(() => test(page, 'selection').textContent()).toMatch(/7\.\.9.*5.*MUL_MAT/s);
    await until(() =>
      page.locator('[data-panel]').evaluateAll((all) => all.map((p) => (p as HTMLElement).dataset.panel)),
    ).toEqual(['timeline', 'table', 'memory']);
  });

  it('with the place in the table and the panel that fills the window', async () => {
    const page = await open(`${server.url}/?session=0&view=table+graph`);
    const firstRow = () =>
      test(page, 'table-row').evaluateAll((rows) => {
        const top = rows[0].closest('[role="grid"]')!.getBoundingClientRect().top + 27;
        return rows.find((row) => row.getBoundingClientRect().bottom > top + 1)?.textContent ?? null;
      });
    await until(() => test(page, 'table-row').count()).toBeGreaterThan(3);
    await test(page, 'table-grid').hover();
    await page.mouse.wheel(0, 24 * 20_000);
    await until(() => Number(selected(page).get('row'))).toBeGreaterThan(19_000);
    await test(page, 'table-grid').focus();
    await page.keyboard.press('f');
    await until(() => selected(page).get('full')).toBe('table');
    await until(() => test(page, 'table-row').allTextContents()).not.toContain('');
    const [row, text] = await steady(async () => [selected(page).get('row'), await firstRow()] as const);
    await page.reload();
    await until(firstRow).toBe(text);
    await until(() => selected(page).get('row')).toBe(row);
    await until(() => page.locator('[data-panel="table"].maximised').count()).toBe(1);
    // Other rows begin at their begin.
    await page.keyboard.press('Escape');
    await until(() => selected(page).get('full')).toBe(null);
    await page.keyboard.press(']');
    await until(() => selected(page).get('row')).toBe(null);
  });

  it('goes back and forth with the browser', async () => {
    const page = await open(`${server.url}/?session=0&view=graph&layer=5`);
    await page.locator('[data-tab="table"]').click();
    await until(() => selected(page).get('view')).toBe('table');
    await page.goBack();
    await until(() => page.locator('[data-panel="graph"]').count()).toBe(1);
  });

  it('can be made with the keyboard alone', async () => {
    const page = await open(`${server.url}/?session=0`);
    await until(() => test(page, 'timeline-canvas').count()).toBe(1);
    await page.keyboard.press('ArrowRight');
    await until(() => selected(page).get('tokens')).toBe('0');
    for (let i = 0; i < 9; i++) await page.keyboard.press('ArrowRight');
    await until(() => selected(page).get('tokens')).toBe('9');
    await page.keyboard.press('Shift+ArrowRight');
    await until(() => selected(page).get('tokens')).toBe('9..10');
    for (let i = 0; i < 4; i++) await page.keyboard.press(']');
    await until(() => selected(page).get('layer')).toBe('3');
    await page.keyboard.press('3');
    await until(() => page.locator('[data-panel="table"]').count()).toBe(1);
    await page.keyboard.press('f');
    await until(() => page.locator('[data-panel].maximised').count()).toBe(1);
    await page.keyboard.press('Escape');
    await until(() => page.locator('[data-panel].maximised').count()).toBe(0);
    await page.keyboard.press('?');
    await until(() => test(page, 'help').isVisible()).toBe(true);
    await page.keyboard.press('Escape');
    await until(() => test(page, 'help').isVisible()).toBe(false);
    await page.keyboard.press('Escape');
    await until(() => selectionOf(page)).toEqual({});
  });

  it('forgets no key that was faster than the graph', async () => {
    const page = await open('about:blank');
    let arrive = () => {};
    const late = new Promise<void>((resolve) => (arrive = resolve));
    const asked = vi.fn();
    await page.route('**/graphs/*', async (route) => {
      asked();
      await late;
      await route.continue();
    });
    await page.goto(`${server.url}/?session=0`);
    await until(() => asked.mock.calls.length).toBeGreaterThan(0);
    for (let i = 0; i < 4; i++) await page.keyboard.press(']');
    arrive();
    await until(() => selected(page).get('layer')).toBe('3');
  });

  it('plays: token after token, until it is paused', async () => {
    const page = await open(`${server.url}/?session=0&tokens=20`);
    await until(() => test(page, 'timeline-canvas').count()).toBe(1);
    // At the recorded speed it may have come to its end before it is paused, on a busy machine.
    await test(page, 'timeline-pace').selectOption('5 tok/s');
    await page.locator('body').click({ position: { x: 1, y: 1 } });
    await page.keyboard.press(' ');
    await until(() => Number(selected(page).get('tokens'))).toBeGreaterThan(22);
    await page.keyboard.press(' ');
    await until(() => test(page, 'timeline-play').getAttribute('aria-pressed')).toBe('false');
    // The address is written a little later than tokens are selected.
    const shown = () => test(page, 'selection').textContent();
    await until(async () => (await shown())?.includes(selected(page).get('tokens') ?? 'none')).toBe(true);
    const paused = await steady(shown);
    await stays(600, shown, (now) => expect(now).toBe(paused));
  });
});

describe('a tensor that is selected', () => {
  const graph = (page: Page) => test(page, 'graph-canvas');

  it('in a search, in memory, in a table or in the details brings its layer along', async () => {
    const page = await open(`${server.url}/?session=0&view=graph&tokens=9`);
    await until(() => test(page, 'graph-counts').getAttribute('data-tensors')).not.toBe(null);
    await page.keyboard.press('/');
    await page.keyboard.type('Qcur-7');
    await page.keyboard.press('Enter');
    await until(() => selectionOf(page)).toMatchObject({ tensor: 'Qcur-7', layer: '7' });
    await until(() => graph(page).getAttribute('data-layer')).toBe('7');
    // What it is computed from is of its layer too; what no layer has leaves the one that reads it.
    await test(page, 'inspector').getByRole('button', { name: 'attn_norm-7' }).click();
    await until(() => selectionOf(page)).toMatchObject({ tensor: 'attn_norm-7', layer: '7' });

    await page.goto(`${server.url}/?session=0&view=table&tokens=9`);
    await until(() => test(page, 'table-row').count()).toBeGreaterThan(3);
    await page.keyboard.press('/');
    await page.keyboard.type('Vcur-5');
    await page.keyboard.press('Enter');
    await test(page, 'table-row').filter({ hasText: 'Vcur-5' }).first().click();
    await until(() => selectionOf(page)).toMatchObject({ tensor: 'Vcur-5', layer: '5' });

    await page.goto(`${server.url}/?session=0&view=info&tokens=9`);
    // The key is known a little after the page is.
    await until(async () => {
      await page.keyboard.press('/');
      return test(page, 'leaves-search').evaluate((field) => field === document.activeElement);
    }).toBe(true);
    await page.keyboard.type('blk.3.ffn_up');
    await page.getByRole('button', { name: 'blk.3.ffn_up.weight' }).first().click();
    await until(() => selectionOf(page)).toMatchObject({ tensor: 'blk.3.ffn_up.weight', layer: '3' });

    const disk = await api<List<Region>>(server, '/sessions/0/memory?memory=disk&limit=1000');
    await page.goto(`${server.url}/?session=0&view=memory&tokens=9`);
    const canvas = page
      .locator('[data-test="memory-track"][data-memory="DISK"] canvas[data-test="memory-canvas"]')
      .first();
    await until(() => canvas.isVisible()).toBe(true);
    const region = disk.items.find((r) => r.name === 'blk.20.ffn_gate.weight')!;
    const end = Math.max(...disk.items.map((r) => r.start + r.bytes), 98_000_000);
    const { box } = await measured(canvas);
    await page.mouse.click(box.x + (box.width * (region.start + region.bytes / 2)) / end, box.y + box.height / 2);
    await until(() => selectionOf(page)).toMatchObject({ tensor: region.name, layer: '20' });
  });
});

it('what a batch took is the same wherever it is said, and says that it is of a batch', async () => {
  const page = await open(`${server.url}/?session=0&view=analytics&tokens=1&layer=5&op=MUL_MAT`);
  const [batch] = (await api<List<EvaluationSummary>>(server, '/sessions/0/evaluations?tokens=1')).items;
  const n = batch.tokens.length;
  expect(n).toBeGreaterThan(1);
  const total = timeInTotal(batch.dur_ns, n);
  expect(total).toMatch(/ in total, .* per token \(1\/\d+\)$/);
  await until(() => test(page, 'inspector-batch').textContent()).toBe(`in a batch of ${n}`);
  await until(() => test(page, 'inspector-time').textContent()).toBe(total);
  await until(() => test(page, 'inspector-operators').textContent()).toContain(`${batch.operators} in total`);
  const layers = await api<LayerSum[]>(server, '/sessions/0/analytics/layers?tokens=1');
  const layer = layers.find((sum) => sum.layer === 5)!;
  await until(() => test(page, 'inspector-layer-time').textContent()).toBe(timeInTotal(layer.ns, n));
  const ops = layers.reduce((sum, of) => sum + of.ns, 0);
  await until(async () => {
    await page.locator('[data-card="ops"]').scrollIntoViewIfNeeded();
    return test(page, 'ops-total').textContent();
  }).toBe(`${timeInTotal(ops, n)}, ${batch.operators} executions`);
  await until(() => test(page, 'analytics-scope').textContent()).toBe(`of token 1, in a batch of ${n}`);
  await until(() => test(page, 'kpi-prompt-in-total').textContent()).toBe(time(batch.dur_ns));
  // All of its tokens are the same batch.
  await page.goto(`${server.url}/?session=0&view=memory&tokens=0..${n - 1}`);
  await until(() => test(page, 'inspector-time').textContent()).toBe(total);
  await until(() => test(page, 'memory-scope').textContent()).toContain(`in a batch of ${n}`);
});
