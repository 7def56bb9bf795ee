// The view of models shows what the API says, moves the other views and is moved by them, works without a session and
// without a mouse; the page in one file shows the same with nothing but itself.
import { execFileSync } from 'node:child_process';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Page as List } from '../src/lib/types';
import type {
  ArchGraph,
  Block,
  GraphReport,
  Inspection,
  Mix,
  TensorReport,
  WeightCost,
} from '../src/views/model/types';
import { pointAround, quiet } from './quiet';
import {
  api,
  folder,
  GGSCOPE,
  gguf,
  measured,
  MODEL,
  open,
  record,
  serve,
  type Server,
  steady,
  synthetic,
  until,
} from './support';

const selected = (page: Page) => new URLSearchParams(new URL(page.url()).search);
const test = (page: Page, name: string) => page.locator(`[data-test="${name}"]`);
const Q = 'blk.5.attn_q.weight';

/** The demo model under the name that synthetic traces say. */
function demo(): string {
  const path = join(folder, 'Smol LM2 ü.gguf');
  try {
    symlinkSync(MODEL, path);
  } catch {
    // An earlier test has made it.
  }
  return path;
}

/** A run of the demo model's shape, with the model beside it. */
let server: Server;
beforeAll(async () => {
  server = await serve([synthetic('model.ggtrace', 'llama', 30, 40)], ['--model', demo()]);
});

describe('the overview', () => {
  it('says what the API says: parameters, layers, bits, components, what is in a layer', async () => {
    const page = await open(`${server.url}/?session=0&view=model`);
    const model = await api<Inspection>(server, '/models/0');
    await until(() => test(page, 'fact-layers').textContent()).toBe(String(model.architecture.layers.length));
    await until(() => test(page, 'parameters-total').getAttribute('title')).toBe(
      model.parameters.total.toLocaleString('en-US'),
    );
    await until(() => test(page, 'fact-bits-per-weight').textContent()).toBe(
      model.memory.weights.bits_per_weight.toFixed(2),
    );
    const bars = () =>
      test(page, 'bar-components')
        .locator('[data-part]')
        .evaluateAll((parts) => parts.map((part) => Number((part as HTMLElement).dataset.value)).sort());
    await until(bars).toEqual(model.parameters.by_component.map((c) => c.total).sort());
    const strip = page.locator('[data-test="strip-layer"][data-layer="5"]');
    await until(async () => Number(await strip.getAttribute('data-value'))).toBe(model.parameters.by_layer[5].total);
    await test(page, 'strip-bytes').click();
    const mix = await api<Mix>(server, '/models/0/quant');
    await until(async () => Number(await strip.getAttribute('data-value'))).toBe(
      mix.layers.find((l) => l.layer === 5)!.bytes,
    );
    await strip.click();
    await until(() => selected(page).get('layer')).toBe('5');
  });

  it('finds tensors and metadata, and a tensor that is chosen is selected everywhere', async () => {
    const page = await open(`${server.url}/?session=0&view=model`);
    await test(page, 'search-tensors').fill('5.attn_q');
    await until(() => test(page, 'found-tensors').textContent()).toContain('3 of 272');
    await page.locator(`[data-test="rows-tensors"] [data-row="${Q}"]`).click();
    await until(() => selected(page).get('tensor')).toBe(Q);
    await test(page, 'search-metadata').fill('rope.freq');
    await until(() => test(page, 'rows-metadata').textContent()).toContain('100000');
    await page.locator('[data-tab="memory"]').click();
    await until(() => test(page, 'inspector-name').textContent()).toBe(Q);
  });
});

describe('the architecture', () => {
  it('has the nodes and edges that the API has, of both constructions', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=graph`);
    for (const schema of ['standard', 'tutorial']) {
      await test(page, 'arch-schema').selectOption(schema);
      const graph = await api<ArchGraph>(server, `/models/0/graph?schema=${schema}`);
      await until(() => test(page, 'arch-counts').getAttribute('data-nodes')).toBe(String(graph.nodes.length));
      await until(() => test(page, 'arch-counts').getAttribute('data-edges')).toBe(String(graph.edges.length));
    }
  });

  it('opens a layer into all that it contains', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=graph`);
    const canvas = test(page, 'arch-canvas');
    const { nodes } = await api<ArchGraph>(server, '/models/0/graph?layer=5');
    await until(() => canvas.getAttribute('data-nodes')).not.toBe(null);
    const { nodes: closed } = await measured(canvas, 'nodes');
    await page.goto(`${server.url}/?session=0&view=model&tab=graph&open=layer_5`);
    // The layer is a frame now; its node is the residual stream behind it.
    await until(async () => Number(await canvas.getAttribute('data-nodes'))).toBe(closed - 1 + nodes.length);
  });

  it('finds a head, shows what was measured of all heads together, and the other views follow', async () => {
    const page = await open(`${server.url}/?session=0&view=model+table&tab=graph`);
    await until(() => test(page, 'arch-counts').count()).toBe(1);
    await test(page, 'arch-search').fill('layer 5 head 3');
    await test(page, 'arch-search').press('Enter');
    await until(() => selected(page).get('part')).toBe('layer_5_head_3');
    await until(() => [selected(page).get('layer'), selected(page).get('tensor')]).toEqual(['5', Q]);
    const graph = await api<ArchGraph>(server, '/models/0/graph?session=0');
    const { measured, parameters } = graph.nodes.find((n) => n.id === 'layer_5_head_3')!;
    await until(() => test(page, 'arch-side-parameters').textContent()).toContain(parameters.toLocaleString('en-US'));
    await until(() => test(page, 'arch-side-together').textContent()).toContain('all 9 query heads together');
    await until(() => test(page, 'arch-side-accesses').textContent()).toContain(
      `${measured!.accesses.toLocaleString('en-US')} times`,
    );
    // Only what is of the layer and reads the tensor is in the table.
    await until(() => test(page, 'table-row').first().textContent()).toContain('Qcur-5');
  });

  it('a click on a layer selects it; a layer or tensor that is selected elsewhere is shown here', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=graph`);
    await until(() => test(page, 'arch-canvas').getAttribute('data-nodes')).not.toBe(null);
    const { box } = await measured(test(page, 'arch-canvas'));
    // Some layer is there: the picture is filled with them.
    let at = 0;
    await until(async () => {
      at = at > 0.96 ? 0.02 : at + 0.02;
      await page.mouse.click(box.x + box.width * 0.25, box.y + box.height * at);
      return selected(page).get('layer');
    }).not.toBe(null);
    const layer = await steady(() => selected(page).get('layer'));
    await until(() => test(page, 'arch-side-title').textContent()).toContain(`Layer ${layer}`);
    await page.keyboard.press(']');
    await until(() => test(page, 'arch-side-title').textContent()).toContain(`Layer ${Number(layer) + 1}`);
    await page.goto(`${server.url}/?session=0&view=model&tab=graph&tensor=blk.7.ffn_up.weight`);
    await until(() => test(page, 'arch-side-title').textContent()).toContain('Feed-forward');
    const weights = await api<WeightCost[]>(server, '/sessions/0/weights');
    const sum = weights.filter((w) => /^blk\.7\.ffn_(up|gate|down)\./.test(w.name)).reduce((n, w) => n + w.accesses, 0);
    await until(() => test(page, 'arch-side-accesses').textContent()).toContain(`${sum} times`);
  });

  it('is a table where the browser has no WebGL', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=graph`);
    await page.addInitScript(() => {
      const real = HTMLCanvasElement.prototype.getContext;
      HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement, kind: string, ...rest: unknown[]) {
        return /webgl/.test(kind) ? null : (real as (...a: unknown[]) => unknown).call(this, kind, ...rest);
      } as never;
    });
    await page.reload();
    await until(() => test(page, 'arch-list').count()).toBe(1);
    await test(page, 'search-parts').fill('layer 5 query head 3');
    await page.locator('[data-row="layer_5_head_3"]').click();
    await until(() => selected(page).get('part')).toBe('layer_5_head_3');
  });
});

describe('memory and cost', () => {
  it('is computed anew by the server for what is planned', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=cost`);
    const total = (query: string) =>
      api<Inspection>(server, `/models/0${query}`).then((m) => m.memory.total_bytes?.toLocaleString('en-US'));
    await until(() => test(page, 'memory-total').getAttribute('title')).toBe(await total(''));
    await test(page, 'plan-ctx').fill('8192');
    await test(page, 'plan-ctx').press('Enter');
    await test(page, 'plan-k').selectOption('q8_0');
    await test(page, 'plan-vram').fill('0.125');
    await test(page, 'plan-vram').press('Enter');
    await until(() => test(page, 'memory-total').getAttribute('title')).toBe(
      await total('?ctx=8192&cache_type_k=q8_0&vram=134217728'),
    );
    const { offload } = (await api<Inspection>(server, '/models/0?ctx=8192&cache_type_k=q8_0&vram=134217728')).memory;
    await until(() => test(page, 'memory-offload').textContent()).toContain(
      `${offload!.layers} of ${offload!.of} layers`,
    );
    await until(() => selected(page).get('vram')).toBe('134217728');
    await page.reload();
    await until(() => test(page, 'plan-vram').inputValue()).toBe('0.125');
  });

  it('has the numbers of the roofline as a table', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=cost`);
    const reached = await api<{ op: string; ns: number }[]>(server, '/sessions/0/reached');
    await test(page, 'table-model-roofline').click();
    await until(() => test(page, 'numbers-model-roofline').textContent()).toContain(
      reached[0].ns.toLocaleString('en-US'),
    );
  });
});

describe('quantisation', () => {
  it('shows the types of all tensors, and one block as it is in the file', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=quant&tensor=${Q}`);
    const mix = await api<Mix>(server, '/models/0/quant');
    await until(() => test(page, 'mix-map').locator('[data-tensor]').count()).toBe(mix.total.tensors);
    const report = await api<TensorReport>(server, `/models/0/tensor?tensor=${Q}`);
    await until(() => page.locator('[data-card="model-values"]').textContent()).toContain(
      String(+report.values.max!.toPrecision(4)),
    );
    const at = (n: number) =>
      api<List<Block>>(server, `/models/0/blocks?tensor=${Q}&offset=${n}&limit=1`).then((list) => list.items[0]);
    await test(page, 'block-number').fill('10367');
    await test(page, 'block-number').press('Enter');
    const block = await at(10367);
    await until(() => test(page, 'block').getAttribute('data-index')).toBe('10367');
    const cells = async () => (await test(page, 'block').locator('[data-element]').allTextContents()).map(Number);
    await until(cells).toEqual(block.sub_blocks.flatMap((sub) => sub.quants));
    await until(() => test(page, 'block-offset').textContent()).toBe(`0x${block.offset.toString(16)}`);
    await page.locator('[data-element="7"]').hover();
    const value = +block.values![7].toPrecision(4);
    await until(() => test(page, 'block-formula').textContent()).toContain(String(Math.abs(value)));
    // Out of the field: what is typed there stays there.
    await page.keyboard.press('Escape');
    await page.keyboard.press('p');
    await until(() => test(page, 'block').getAttribute('data-index')).toBe('10366');
    await until(() => selected(page).get('block')).toBe('10366');
    await page.reload();
    await until(() => test(page, 'block').getAttribute('data-index')).toBe('10366');
  });

  it('says of a tensor without blocks that it has none', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=quant&tensor=output_norm.weight`);
    await until(() => page.locator('[data-card="model-block"]').textContent()).toContain('has no blocks');
  });
});

describe('graph analytics', () => {
  it('have the ranks of the API for what is asked, and a row leads to its node', async () => {
    const page = await open(`${server.url}/?session=0&view=model&tab=ranks`);
    const first = async (query: string) => {
      const report = await api<GraphReport>(server, query);
      return report.nodes[report.top_pagerank[0].node].label;
    };
    const row = page.locator('[data-test="rows-pagerank"] tbody tr').first();
    await until(() => row.textContent()).toContain(await first('/models/0/analytics'));
    await test(page, 'ranks-weight').selectOption('time');
    await until(() => row.textContent()).toContain(await first('/models/0/analytics?weight=time&session=0'));
    await test(page, 'ranks-uses').click();
    const flow = await api<GraphReport>(server, '/models/0/analytics?edges=contains,feeds_into');
    await until(() => test(page, 'ranks-size').textContent()).toContain(flow.edges.toLocaleString('en-US'));
    await row.click();
    await until(() => selected(page).get('part')).not.toBe(null);
    await test(page, 'ranks-computation').click();
    await until(() => test(page, 'way').textContent()).toContain('result_output');
  });
});

describe('models', () => {
  it('without a session have the page to themselves, side by side too', async () => {
    const server = await serve([demo(), gguf('moe.gguf', 'qwen3moe')]);
    const page = await open(`${server.url}/`);
    await until(() => test(page, 'fact-layers').textContent()).toBe('30');
    await until(() => page.locator('[data-panel="timeline"]').count()).toBe(0);
    await test(page, 'model-choice').selectOption('1');
    await until(() => test(page, 'fact-layers').textContent()).toBe('48');
    await test(page, 'model-tab-models').click();
    await until(() => test(page, 'models-facts').textContent()).toContain('8 of 128');
    await test(page, 'model-tab-graph').click();
    await until(() => test(page, 'arch-canvas').getAttribute('data-nodes')).not.toBe(null);
    await test(page, 'arch-search').fill('layer 3 expert 77');
    await test(page, 'arch-search').press('Enter');
    await until(() => test(page, 'arch-side-title').textContent()).toContain('Expert 77');
  });

  it('of a program that is recorded come by themselves, with what it did so far', async () => {
    const server = await record('model-live.ggtrace');
    await server.ask('Count to five.', 8);
    const page = await open(`${server.url}/?view=model&tab=graph&tensor=blk.7.ffn_up.weight`);
    await until(() => test(page, 'model-tied').count()).toBe(1);
    await until(() => test(page, 'arch-side-title').textContent()).toContain('Feed-forward');
    const accesses = async () => Number((await test(page, 'arch-side-accesses').textContent())!.replace(/\D/g, ''));
    await until(() => test(page, 'arch-side-accesses').count()).toBe(1);
    await until(accesses).toBeGreaterThan(0);
    const before = await steady(accesses);
    await server.ask('Count to nine.', 8);
    await until(accesses).toBeGreaterThan(before);
  });

  it('that nobody named are asked for, with the command that names them', async () => {
    const server = await serve([synthetic('alone.ggtrace', 'llama', 2, 5)]);
    const page = await open(`${server.url}/?session=0&view=model`);
    await until(() => test(page, 'model-none').textContent()).toContain('ggscope open run.ggtrace --model');
  });

  it('are reached, read and left with the keyboard alone', async () => {
    const page = await open(`${server.url}/?session=0&view=graph`);
    await until(() => page.locator('[data-panel="graph"]').count()).toBe(1);
    await page.keyboard.press('7');
    await until(() => selected(page).get('view')).toBe('model');
    await until(() => test(page, 'fact-layers').count()).toBe(1);
    await page.keyboard.press('.');
    await until(() => selected(page).get('tab')).toBe('graph');
    await until(() => test(page, 'arch-canvas').getAttribute('data-nodes')).not.toBe(null);
    await page.keyboard.press('g');
    // Input, embedding, layer 0; Enter opens it.
    for (let i = 0; i < 3; i++) await page.keyboard.press('ArrowDown');
    await until(() => selected(page).get('part')).toBe('layer_0');
    await page.keyboard.press('Enter');
    await until(() => selected(page).get('open')).toBe('layer_0');
    await page.keyboard.press('Backspace');
    await until(() => selected(page).get('open')).toBe(null);
    await page.keyboard.press('Escape');
    await until(() => selected(page).get('layer')).toBe(null);
  });

  it('whose names are markup do nothing in any tab', async () => {
    const server = await serve([gguf('hostile.gguf', 'hostile')]);
    for (const tab of ['overview', 'graph', 'cost', 'quant', 'ranks']) {
      const page = await open(`${server.url}/?tab=${tab}&open=layer_0`);
      await until(() => page.locator('[data-panel="model"]').textContent(), { message: tab }).toContain('<img');
      await pointAround(page, page.locator('[data-panel="model"]'));
      if (tab === 'overview') {
        await until(() => test(page, 'rows-tensors').textContent()).toContain('<img src=x');
      }
    }
  });
});

describe('complete_dashboard.html', () => {
  function dashboard(model: string, name: string, ...more: string[]): string {
    const dir = join(folder, name);
    execFileSync(GGSCOPE, ['arch', model, '-o', dir, ...more], { stdio: ['ignore', 'ignore', 'inherit'] });
    return join(dir, 'complete_dashboard.html');
  }

  it('shows the same numbers with the network off, from a file', async () => {
    const trace = synthetic('dashboard.ggtrace', 'llama', 30, 40);
    const file = dashboard(demo(), 'dashboard', '--trace', trace);
    const server = await serve([trace], ['--model', demo()]);
    const address = pathToFileURL(file).href;
    const page = await open(`${address}?tab=graph&part=layer_5_head_3&tensor=${Q}`, { offline: true });
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    const graph = await api<ArchGraph>(server, '/models/0/graph?session=0');
    await until(() => test(page, 'arch-counts').getAttribute('data-nodes')).toBe(String(graph.nodes.length));
    const { measured } = graph.nodes.find((n) => n.id === 'layer_5_head_3')!;
    await until(() => test(page, 'arch-side-accesses').textContent()).toContain(`${measured!.accesses} times`);
    await test(page, 'arch-paint').selectOption('time');
    await until(() => test(page, 'arch-scale-bar').count()).toBe(1);

    await test(page, 'arch-side-quant').click();
    const block = await api<List<Block>>(server, `/models/0/blocks?tensor=${Q}&offset=5184&limit=1`);
    await test(page, 'block-next').click();
    await until(() => test(page, 'block').getAttribute('data-index')).toBe('5184');
    const cells = async () => (await test(page, 'block').locator('[data-element]').allTextContents()).map(Number);
    await until(cells).toEqual(block.items[0].sub_blocks.flatMap((sub) => sub.quants));

    await test(page, 'model-tab-overview').click();
    const model = await api<Inspection>(server, '/models/0');
    await until(() => test(page, 'parameters-total').getAttribute('title')).toBe(
      model.parameters.total.toLocaleString('en-US'),
    );
    await test(page, 'model-tab-cost').click();
    await until(() => test(page, 'memory-total').getAttribute('title')).toBe(
      model.memory.total_bytes?.toLocaleString('en-US'),
    );
    await until(() => test(page, 'chart-model-cache').getAttribute('data-drawn')).toBe('true');
    await test(page, 'model-tab-ranks').click();
    const report = await api<GraphReport>(server, '/models/0/analytics');
    await until(() => page.locator('[data-test="rows-pagerank"] tbody tr').first().textContent()).toContain(
      report.nodes[report.top_pagerank[0].node].label,
    );
    await page.reload();
    await until(() => page.locator('[data-test="rows-pagerank"] tbody tr').count()).toBeGreaterThan(5);
    expect(asked.filter((url) => !url.startsWith(address) && !url.startsWith('data:'))).toEqual([]);
  });

  it('holds names that are markup as text', async () => {
    const file = dashboard(gguf('hostile2.gguf', 'hostile'), 'hostile');
    expect(readFileSync(file, 'utf8')).not.toContain('<img src=x');
    const page = await open(pathToFileURL(file).href, { offline: true });
    await until(() => test(page, 'rows-tensors').textContent()).toContain('<img src=x');
    await quiet(page);
  });
});
