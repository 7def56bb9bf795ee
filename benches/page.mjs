#!/usr/bin/env node
// Prints the numbers that need a browser: how soon the page shows something, how it moves, and what following costs.
// Debian's Chromium, headless, drawing as it does on a machine without a graphics card: the page on the processor, WebGL
// through SwiftShader. Needs `make all` and the example `synthetic`; `make bench` calls it.
//
//   benches/page.mjs [first|latency|graph|attention|heads|following|overhead]…     all of them if none is named

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launchMeasured, start as startProgram, stop as stopProgram } from '../collector/ui/tests/start.mjs';

const ROOT = new URL('..', import.meta.url).pathname;
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
const GGSCOPE = join(TARGET, 'release/ggscope');
const SYNTHETIC = join(TARGET, 'release/examples/synthetic');
const SERVER = join(ROOT, 'vendor/build/bin/llama-server');
const MODEL = join(ROOT, 'vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf');
const PAIRS = Number(process.env.GGSCOPE_BENCH_PAIRS ?? 9);

const scratch = mkdtempSync(join(tmpdir(), 'ggscope-bench-'));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const line = (what, value, wanted) => console.log(`${what.padEnd(72)} ${value.padStart(16)}${wanted ? `   wanted: ${wanted}` : ''}`);
const sorted = (values) => [...values].sort((a, b) => a - b);
const quantile = (values, q) => sorted(values)[Math.min(values.length - 1, Math.floor(q * values.length))];
const median = (values) => quantile(values, 0.5);

let measured, browser;
const running = new Set();

/** Starts ggscope with a page. */
async function start(args) {
  const { url, process: child } = await startProgram(GGSCOPE, args);
  running.add(child);
  return { url, child };
}

async function stop(child) {
  running.delete(child);
  await stopProgram(child);
}

/** A page that keeps the evaluations that it has drawn, with the time of each picture. */
async function newPage() {
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  await page.addInitScript(() => {
    window.drawn = [];
    new PerformanceObserver((list) => {
      for (const mark of list.getEntries()) {
        if (mark.name === 'ggscope-drawn') window.drawn.push([mark.detail.seq, performance.timeOrigin + mark.startTime]);
      }
    }).observe({ type: 'mark', buffered: true });
  });
  return page;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function trace(name, kind, layers, tokens) {
  const path = join(scratch, name);
  if (!existsSync(path)) execFileSync(SYNTHETIC, [path, kind, String(layers), String(tokens)]);
  return path;
}

/** From the command to the picture of a trace of ten million operator executions. */
async function first() {
  const path = trace('ten-million.ggtrace', 'llama', 30, 17_362);
  const times = [];
  for (let i = 0; i < 5; i++) {
    const page = await newPage();
    const begin = performance.now();
    const { url, child } = await start(['open', '--no-open', '--listen', '127.0.0.1:0', path]);
    await page.goto(url);
    await page.waitForFunction(() => window.drawn.length > 0 && window.drawn.at(-1)[0] >= 17_000, null, { polling: 10 });
    times.push(performance.now() - begin);
    await page.close();
    await stop(child);
  }
  line('open 10 million operator executions: command to first picture, median', `${(median(times) / 1000).toFixed(2)} s`, 'under 1.5 s');
}

/** From the end of an evaluation in the host to its bar in the page. */
async function latency() {
  const port = await freePort();
  const model = [SERVER, '-m', MODEL, '--port', String(port), '-t', '1', '-c', '2048'];
  const output = join(scratch, 'latency.ggtrace');
  const { url, child } = await start(['record', '--serve', '--no-open', '--listen', '127.0.0.1:0', '-o', output, '--', ...model]);
  const base = `http://127.0.0.1:${port}`;
  while (!(await fetch(`${base}/health`).then((r) => r.ok, () => false))) await sleep(200);
  const page = await newPage();
  await page.goto(url);
  await page.waitForSelector('[data-panel="timeline"]');
  const before = await page.evaluate(() => window.drawn.at(-1)?.[0] ?? -1);
  const body = JSON.stringify({ prompt: 'Once upon a time', n_predict: 200, temperature: 0, ignore_eos: true });
  await (await fetch(`${base}/completion`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json();
  await sleep(1000);
  const drawn = await page.evaluate(() => window.drawn);
  const bytes = await (await fetch(`${url}/api/v1/sessions/0/timeline`)).arrayBuffer();
  // The host's clock is CLOCK_MONOTONIC, the browser's the time of day.
  const offset = performance.timeOrigin + performance.now() - Number(process.hrtime.bigint()) / 1e6;
  const view = new DataView(bytes);
  const n = view.getUint32(8, true);
  const t0 = view.getFloat64(24, true);
  const waits = [];
  for (let seq = before + 1; seq < n; seq++) {
    const end = (t0 + view.getFloat64(32 + seq * 8, true) + view.getFloat64(32 + (n + seq) * 8, true)) / 1e6 + offset;
    const picture = drawn.find(([newest]) => newest >= seq);
    if (picture) waits.push(picture[1] - end);
  }
  await page.close();
  await stop(child);
  line(`evaluation ended in the host to drawn in the page, median of ${waits.length}`, `${median(waits).toFixed(0)} ms`, 'under 300 ms');
  line('  99 of 100', `${quantile(waits, 0.99).toFixed(0)} ms`);
}

/** Ten thousand nodes: frames while the graph moves, and the time until a layer is shown. */
async function graph() {
  const path = trace('graph.ggtrace', 'llama', 322, 3);
  const { url, child } = await start(['open', '--no-open', '--listen', '127.0.0.1:0', path]);
  const page = await newPage();
  await page.goto(`${url}/?session=0&view=graph`);
  await page.click('[data-test="graph-depth-nodes"]');
  const boxes = () => page.getAttribute('[data-test="graph-canvas"]', 'data-nodes');
  while (Number(await boxes()) < 9_000) await sleep(100);
  await sleep(1000);
  const box = await page.locator('[data-test="graph-canvas"]').boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const frames = async (what) => {
    await page.evaluate(() => {
      const times = (window.times = []);
      const frame = (t) => {
        times.push(t);
        if (window.times === times) requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    });
    await what();
    return page.evaluate(() => {
      const t = window.times;
      window.times = null;
      return ((t.length - 1) * 1000) / (t.at(-1) - t[0]);
    });
  };
  await page.mouse.move(x, y);
  const pan = await frames(async () => {
    await page.mouse.down();
    for (let i = 0; i < 120; i++) await page.mouse.move(x + 150 * Math.sin(i / 9), y + 100 * Math.cos(i / 7));
    await page.mouse.up();
  });
  const zoom = await frames(async () => {
    for (let i = 0; i < 80; i++) {
      await page.mouse.wheel(0, i % 40 < 20 ? -120 : 120);
      await sleep(10);
    }
  });
  line('graph of 10,000 nodes, all open: pan', `${pan.toFixed(0)} frames/s`, 'at least 30');
  line('graph of 10,000 nodes, all open: zoom', `${zoom.toFixed(0)} frames/s`, 'at least 30');
  const times = [];
  for (const layer of [5, 100, 250, 17, 200]) {
    const took = await page.evaluate(async (layer) => {
      const shown = () => document.querySelector('[data-test="graph-canvas"]')?.getAttribute('data-layer');
      const begin = performance.now();
      const select = document.querySelector('[data-test="graph-layer"]');
      select.value = String(layer);
      select.dispatchEvent(new Event('change', { bubbles: true }));
      while (shown() !== String(layer)) await new Promise((resolve) => requestAnimationFrame(resolve));
      await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      return performance.now() - begin;
    }, layer);
    times.push(took);
  }
  await page.close();
  await stop(child);
  line('layer filter in the graph of 10,000 nodes: click to drawn, median', `${median(times).toFixed(0)} ms`, 'under 200 ms');
}

/** From the end of a prompt's evaluation in the host to the heatmap of its attention in the page. */
async function attention() {
  const output = join(scratch, 'attention.ggtrace');
  const record = ['record', '--capture', 'attention', '--serve', '--no-open', '--listen', '127.0.0.1:0', '-o', output, '--'];
  const { ask, child, url } = await llamaServer((command) => start([...record, ...command]), 1);
  const page = await newPage();
  await page.addInitScript(() => {
    window.heatmaps = [];
    new PerformanceObserver((list) => {
      for (const mark of list.getEntriesByName('ggscope-attention')) {
        window.heatmaps.push([mark.detail.token, performance.timeOrigin + mark.startTime]);
      }
    }).observe({ type: 'mark', buffered: true });
  });
  await page.goto(`${url}/?view=attention&layer=5`);
  const waits = [];
  for (let i = 0; i < 9; i++) {
    // What is asked for is paced: it is the first picture after a rest that somebody waits for.
    await sleep(4000);
    await ask();
    const [session] = await (await fetch(`${url}/api/v1/sessions`)).json();
    const offset = performance.timeOrigin + performance.now() - Number(process.hrtime.bigint()) / 1e6;
    const end = session.last_ns / 1e6 + offset;
    const token = session.tokens - 1;
    const drawn = await page.waitForFunction((token) => window.heatmaps.find(([newest]) => newest >= token)?.[1], token, { polling: 20, timeout: 20_000 });
    waits.push((await drawn.jsonValue()) - end);
  }
  await page.close();
  await stop(child);
  // The first loads the view, too.
  line(`token computed in the host to its attention in the page, median of ${waits.length}`, `${median(waits).toFixed(0)} ms`, 'under 500 ms');
  line('  the first of all', `${waits[0].toFixed(0)} ms`, 'under 500 ms');
}

/** A map of 32 × 32 heads, made larger from a real answer: frames while one goes through it. */
async function heads() {
  const output = join(scratch, 'heads.ggtrace');
  const record = ['record', '--capture', 'attention', '--serve', '--no-open', '--listen', '127.0.0.1:0', '-o', output, '--'];
  const { ask, child, url } = await llamaServer((command) => start([...record, ...command]), 4);
  await ask();
  const page = await newPage();
  await page.route('**/attention/map*', async (route) => {
    const reply = await route.fetch();
    if (!reply.ok()) return route.fulfill({ response: reply });
    const answer = await reply.json();
    const layers = Array.from({ length: 32 }, (_, l) => {
      const layer = answer.layers[l % answer.layers.length];
      return { ...layer, layer: l, heads: Array.from({ length: 32 }, (_, h) => ({ ...layer.heads[h % layer.heads.length], head: h })) };
    });
    await route.fulfill({ json: { ...answer, layers } });
  });
  await page.goto(`${url}/?view=attention&layer=5&full=attention`);
  const canvas = page.locator('[data-test="attention-map-canvas"][data-heads="32"]');
  await canvas.waitFor();
  await sleep(1000);
  const box = await canvas.boundingBox();
  await page.evaluate(() => {
    const times = (window.times = []);
    const frame = (t) => {
      times.push(t);
      if (window.times === times) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  for (let i = 0; i < 150; i++) await page.mouse.move(box.x + box.width * (0.5 + 0.4 * Math.sin(i / 9)), box.y + box.height * (0.5 + 0.4 * Math.cos(i / 7)));
  const frames = await page.evaluate(() => {
    const t = window.times;
    window.times = null;
    return ((t.length - 1) * 1000) / (t.at(-1) - t[0]);
  });
  await page.close();
  await stop(child);
  line('map of 1,024 heads, pointing at one after the other', `${frames.toFixed(0)} frames/s`, 'at least 30');
}

/** A llama-server, and what it takes to ask it; its own count of tokens a second of an answer. */
async function llamaServer(start, tokens = 128) {
  const port = await freePort();
  const threads = process.env.GGSCOPE_BENCH_THREADS ?? '1';
  const started = await start([SERVER, '-m', MODEL, '--port', String(port), '-t', threads, '-c', '2048', '-np', '1']);
  const base = `http://127.0.0.1:${port}`;
  while (!(await fetch(`${base}/health`).then((r) => r.ok, () => false))) await sleep(200);
  const body = JSON.stringify({ prompt: 'Once upon a time', n_predict: tokens, temperature: 0, ignore_eos: true, cache_prompt: false });
  const ask = async () => {
    const reply = await fetch(`${base}/completion`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    return (await reply.json()).timings.predicted_per_second;
  };
  return { ...started, ask };
}

/** Seconds of processor time that a process and all that it has started have taken, in user and in kernel mode. */
function cpuOf(pid) {
  const all = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // In hundredths of a second on every Linux that Node.js runs on.
      all.set(Number(name), { parent: Number(fields[1]), seconds: (Number(fields[11]) + Number(fields[12])) / 100 });
    } catch {
      // It has ended.
    }
  }
  const of = (pid) => {
    let seconds = all.get(pid)?.seconds ?? 0;
    for (const [child, { parent }] of all) if (parent === pid) seconds += of(child);
    return seconds;
  };
  return { all: of(pid), alone: all.get(pid)?.seconds ?? 0 };
}

/** Processor time that a page takes which follows, of Chromium and of the collector: little of it is noise. */
async function following() {
  const output = join(scratch, 'following.ggtrace');
  const record = ['record', '--serve', '--no-open', '--listen', '127.0.0.1:0', '-o', output, '--'];
  const { ask, child, url } = await llamaServer((command) => start([...record, ...command]), 1200);
  const views = ['none', 'graph', 'table', 'memory', 'analytics', 'info'];
  for (const view of views) {
    const page = view === 'none' ? null : await newPage();
    await page?.goto(`${url}/?view=${view}`);
    await page?.waitForFunction(() => window.drawn.length > 0);
    let answering = true;
    const answer = ask().finally(() => (answering = false));
    await sleep(4000);
    const at = () => page?.evaluate(() => window.drawn.at(-1)[0]);
    const [seq, begin, chromium, collector] = [await at(), performance.now(), cpuOf(measured.pid), cpuOf(child.pid)];
    for (let i = 0; i < 60 && answering; i++) await sleep(100);
    const share = (seconds) => (100_000 * seconds) / (performance.now() - begin);
    const of = [share(cpuOf(measured.pid).all - chromium.all), share(cpuOf(child.pid).alone - collector.alone)];
    if (page && (await at()) <= seq + 10) throw new Error('the page has followed nothing');
    if (performance.now() - begin < 3000) throw new Error('the answer was too short to measure what following it takes');
    await page?.close();
    await answer;
    const text = view === 'none' ? 'recording without a page' : `following, ${view}`;
    const parts = `Chromium ${of[0].toFixed(1)} %, collector ${of[1].toFixed(1)} %`;
    line(`${text}, of one core: ${parts}`, `${(of[0] + of[1]).toFixed(1)} %`, view === 'graph' ? 'under 5 %' : '');
  }
  await stop(child);
}

/** Tokens a second with the page open and following, against an untraced server; they are asked in turn. */
async function overhead() {
  const untraced = await llamaServer(async ([program, ...args]) => {
    const child = spawn(program, args, { stdio: 'ignore' });
    running.add(child);
    return { child };
  });
  const output = join(scratch, 'overhead.ggtrace');
  const record = ['record', '--serve', '--no-open', '--listen', '127.0.0.1:0', '-o', output, '--'];
  const followed = await llamaServer((command) => start([...record, ...command]));
  const page = await newPage();
  await page.goto(followed.url);
  await page.waitForFunction(() => window.drawn.length > 0);
  await sleep(3000);
  for (const server of [untraced, followed]) await server.ask();
  let before = await untraced.ask();
  const [ratios, controls] = [[], []];
  for (let i = 0; i < PAIRS; i++) {
    const drawn = await page.evaluate(() => window.drawn.length);
    const traced = await followed.ask();
    if ((await page.evaluate(() => window.drawn.length)) <= drawn) throw new Error('the page has followed nothing');
    await sleep(1000);
    const after = await untraced.ask();
    ratios.push((2 * traced) / (before + after));
    controls.push(after / before);
    before = after;
  }
  await page.close();
  for (const { child } of [untraced, followed]) await stop(child);
  line(`tokens/s, page open and following / untraced, median of ${PAIRS} pairs`, median(ratios).toFixed(3), 'at least 0.97');
  line('  middle half of the pairs', `${quantile(ratios, 0.25).toFixed(3)} to ${quantile(ratios, 0.75).toFixed(3)}`);
  line('  untraced / untraced (what noise alone does)', median(controls).toFixed(3), '1');
}

const all = { first, latency, graph, attention, heads, following, overhead };
const wanted = process.argv.slice(2);
try {
  measured = await launchMeasured();
  browser = measured.browser;
  for (const name of wanted.length ? wanted : Object.keys(all)) {
    if (!all[name]) throw new Error(`there is no ${name}: give ${Object.keys(all).join(', ')}`);
    await all[name]();
  }
} catch (error) {
  console.error(`benches/page.mjs: ${error.stack ?? error}`);
  process.exitCode = 1;
} finally {
  await measured?.close();
  for (const child of running) child.kill('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
}
