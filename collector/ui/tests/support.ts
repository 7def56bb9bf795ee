// What browser tests stand on: the collector on a free port, Chromium, synthetic traces, and a llama-server that is
// recorded while somebody looks. All of it ends with the test.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, vi } from 'vitest';
import { watch } from './quiet';
import { start, stop } from './start.mjs';

export const ROOT = new URL('../../..', import.meta.url).pathname;
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
export const GGSCOPE = process.env.GGSCOPE ?? join(TARGET, 'release/ggscope');
const SYNTHETIC = join(TARGET, 'release/examples/synthetic');
const FIXTURE = join(TARGET, 'release/examples/gguf');
export const MODEL = join(ROOT, 'vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf');

/** A program of the vendored llama.cpp. */
export const program = (name: string) => join(ROOT, 'vendor/build/bin', name);

/** Looks again and again until what it sees is as expected: `await until(() => page.title()).toBe('ggscope')`. */
export const until = expect.poll;

/** Looks again and again until there is something, and returns that: for what a test goes on with. */
export function settled<T>(look: () => T | Promise<T>, timeout = 20_000): Promise<NonNullable<Exclude<T, false>>> {
  return vi.waitUntil(look, { timeout, interval: 50 }) as Promise<NonNullable<Exclude<T, false>>>;
}

/** What is seen as soon as there is something and it stays the same: for what a test goes on with. */
export async function steady<T>(look: () => T | Promise<T>): Promise<NonNullable<Exclude<T, false>>> {
  let before = '';
  return settled(async () => {
    const now = await look();
    const [was, is] = [before, JSON.stringify(now)];
    before = is;
    return is === was && now;
  }) as Promise<NonNullable<Exclude<T, false>>>;
}

/** Where an element is, and numbers that it says of itself in `data-…`: as soon as it is and says them, and they stay. */
export function measured<N extends string>(of: Locator, ...names: N[]) {
  return steady(async () => {
    const [box, ...texts] = await Promise.all([
      of.boundingBox(),
      ...names.map((name) => of.getAttribute(`data-${name}`)),
    ]);
    if (!box || texts.includes(null)) return null;
    const numbers = Object.fromEntries(names.map((name, i) => [name, Number(texts[i])]));
    return { box, ...(numbers as Record<N, number>) };
  });
}

/** Where the middle of a cell of a picture is, which says in `data-…` where its cells are. */
export async function cellOf(picture: Locator, row: number, column: number): Promise<{ x: number; y: number }> {
  const at = await measured(picture, 'left', 'top', 'cell-width', 'cell-height');
  return {
    x: at.box.x + at.left + (column + 0.5) * at['cell-width'],
    y: at.box.y + at.top + (row + 0.5) * at['cell-height'],
  };
}

/** A look that is right whenever it is: what it sees has to fit together, and nothing else. */
export function atOnce<T>(look: () => T): T {
  return look();
}

/** What is expected of something now, and goes on to be so. There is no other end to wait for: `ms` have to be enough for
 * the page to do what it must not do. */
export async function stays<T>(ms: number, look: () => T | Promise<T>, check: (value: T) => void): Promise<void> {
  for (const end = Date.now() + ms; Date.now() < end; await pause(50)) check(await look());
}

/** Lets time go by: for what has to be seen by the second. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Where a test file's traces go. */
export const folder = mkdtempSync(join(tmpdir(), 'ggscope-ui-'));
type Cleanup = () => Promise<void> | void;
const ofTest: Cleanup[] = [];
const ofFile: Cleanup[] = [];
/** What pages have said on their consoles. */
const errors: string[] = [];
let testing = false;
let browser: Browser;

beforeAll(async () => {
  browser = await chromium.connect(inject('chromium'));
});
beforeEach(() => void (testing = true));
afterEach(async () => {
  testing = false;
  for (const cleanup of ofTest.splice(0).reverse()) await cleanup();
  expect(errors.splice(0)).toEqual([]);
});
afterAll(async () => {
  for (const cleanup of ofFile.splice(0).reverse()) await cleanup();
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Expects that pages say an error on their consoles, which is none then. */
export async function expectErrors(kind: RegExp): Promise<void> {
  await until(() => errors.some((error) => kind.test(error))).toBe(true);
  errors.length = 0;
}

/** Runs when the test is over, or all tests of the file if it is called before them; the last first. */
export function afterwards(cleanup: Cleanup) {
  (testing ? ofTest : ofFile).push(cleanup);
}

/** A synthetic trace: see collector/examples/synthetic.rs. */
export function synthetic(name: string, kind: 'llama' | 'hostile' | 'experts', layers = 30, tokens = 100): string {
  const path = join(folder, name);
  rmSync(path, { force: true });
  execFileSync(SYNTHETIC, [path, kind, String(layers), String(tokens)]);
  return path;
}

/** A GGUF file of a model's shape, whose weights are a hole: see collector/examples/gguf.rs. */
export function gguf(name: string, kind: string): string {
  const path = join(folder, name);
  execFileSync(FIXTURE, [path, kind]);
  return path;
}

/** A collector that answers, and what it has said on stderr. */
export type Server = Awaited<ReturnType<typeof start>>;

/** Starts ggscope for as long as the test runs, or all tests of the file. */
export async function ggscope(args: string[], env: Record<string, string> = {}): Promise<Server> {
  const server = await start(GGSCOPE, args, env);
  afterwards(() => stop(server.process));
  return server;
}

/** Serves traces. */
export function serve(files: string[], args: string[] = []): Promise<Server> {
  return ggscope(['open', '--no-open', '--listen', '127.0.0.1:0', ...args, ...files]);
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export interface Recorded extends Server {
  /** Asks the model, and returns its answer. */
  ask: (question: string, tokens: number) => Promise<string>;
  /** Ends the model's process, not the page. */
  stopModel: (signal?: NodeJS.Signals) => Promise<void>;
}

/** Records llama-server as `recordInto` does, into the folder of the test file. */
export const record = (name = 'live.ggtrace', options: string[] = [], more: string[] = []) =>
  recordInto(join(folder, name), options, more);

/** Records llama-server with the demo model and `more` of its options, with the page open. It computes with one thread:
 * several wait for each other by turning in a circle, which takes minutes where other programs want the cores too. */
export async function recordInto(output: string, options: string[] = [], more: string[] = []): Promise<Recorded> {
  const port = await freePort();
  const model = [program('llama-server'), '-m', MODEL, '--port', String(port), '-t', '1', '-c', '2048', ...more];
  const page = ['--serve', '--no-open', '--listen', '127.0.0.1:0'];
  const server = await ggscope(['record', ...page, '--force', '-o', output, ...options, '--', ...model]);
  const base = `http://127.0.0.1:${port}`;
  for (let i = 0; ; i++) {
    const ready = await fetchHere(`${base}/health`).then(
      (reply) => reply.status === 200,
      () => false,
    );
    if (ready) break;
    if (i > 600) throw new Error(`llama-server was not ready: ${server.said()}`);
    await pause(100);
  }
  const ask = async (question: string, tokens: number) => {
    const body = { messages: [{ role: 'user', content: question }], max_tokens: tokens, temperature: 0 };
    const reply = await fetchHere(`${base}/v1/chat/completions`, JSON.stringify(body));
    return JSON.parse(reply.text).choices[0].message.content as string;
  };
  const stopModel = async (signal: NodeJS.Signals = 'SIGINT') => {
    const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(server.process.pid)], { encoding: 'utf8' });
    for (const pid of children.trim().split(/\s+/)) process.kill(Number(pid), signal);
  };
  return { ...server, ask, stopModel };
}

/** Opens a page. A test fails if one says an error on its console meanwhile, or if markup of a trace came to life there. */
export async function open(url: string, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, colorScheme: 'dark', ...options });
  await watch(context);
  const page = await context.newPage();
  page.on('pageerror', (error) => errors.push(error.message));
  // A request that fails is said on the console too; tests that cut connections mean it.
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) {
      errors.push(message.text());
    }
  });
  await page.goto(url);
  afterwards(() => context.close());
  return page;
}

/** What the server refuses to a page from now on, or does not have. */
export function refusals(page: Page): string[] {
  const refused: string[] = [];
  page.on('response', (response) => {
    if (response.status() >= 400) refused.push(`${response.status()} ${response.url()}`);
  });
  return refused;
}

/** Asks a server on this machine: no proxy may be in between. */
export function fetchHere(url: string, body?: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const asked = request(url, { method: body === undefined ? 'GET' : 'POST', headers, agent: false }, (reply) => {
      let text = '';
      reply.setEncoding('utf8');
      reply.on('data', (part) => (text += part));
      reply.on('end', () => resolve({ status: reply.statusCode ?? 0, text }));
      reply.on('error', reject);
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

/** What the server answers, to compare the page with. */
export async function api<T>(server: Server, path: string): Promise<T> {
  const { status, text } = await fetchHere(`${server.url}/api/v1${path}`);
  if (status !== 200) throw new Error(`${path}: ${status} ${text}`);
  return JSON.parse(text) as T;
}
