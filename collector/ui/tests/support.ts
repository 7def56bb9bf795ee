// What browser tests stand on: the collector on a free port, Chromium, synthetic traces, and a llama-server that is
// recorded while somebody looks. All of it ends with the test.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, vi } from 'vitest';
import { launch, start, stop } from './start.mjs';

export const ROOT = new URL('../../..', import.meta.url).pathname;
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
export const GGSCOPE = process.env.GGSCOPE ?? join(TARGET, 'release/ggscope');
const SYNTHETIC = join(TARGET, 'release/examples/synthetic');
const FIXTURE = join(TARGET, 'release/examples/gguf');
const LLAMA_SERVER = join(ROOT, 'vendor/build/bin/llama-server');
export const MODEL = join(ROOT, 'vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf');

/** Looks again and again until what it sees is as expected: `await until(() => page.title()).toBe('ggscope')`. */
export const until = expect.poll;

/** Looks again and again until there is something, and returns that: for what a test goes on with. */
export function settled<T>(look: () => T | Promise<T>): Promise<NonNullable<Exclude<T, false>>> {
  return vi.waitUntil(look, { timeout: 20_000, interval: 50 }) as Promise<NonNullable<Exclude<T, false>>>;
}

/** A look that is right whenever it is: what it sees has to fit together, and nothing else. */
export function atOnce<T>(look: () => Promise<T>): Promise<T> {
  return look();
}

/** What is expected of something now, and goes on to be so. There is no other end to wait for: `ms` have to be enough for
 * the page to do what it must not do. */
export async function stays<T>(ms: number, look: () => T | Promise<T>, check: (value: T) => void): Promise<void> {
  for (const end = Date.now() + ms; Date.now() < end; await pause(50)) check(await look());
}

/** Expects that no markup out of a trace or a model comes to life. */
export function unharmed(page: Page, where = '', ms = 80): Promise<void> {
  const look = async () => [await page.title(), await page.locator('img[src="x"]').count()] as const;
  return stays(ms, look, ([title, images]) => {
    expect(title, where).not.toBe('harmed');
    expect(images, where).toBe(0);
  });
}

/** Lets time go by: for what has to be seen by the second. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Where a test file's traces go. */
export const folder = mkdtempSync(join(tmpdir(), 'ggscope-ui-'));
const cleanups: (() => Promise<void> | void)[] = [];
let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs when the test is over, the last first. */
export function afterTest(cleanup: () => Promise<void> | void) {
  cleanups.push(cleanup);
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

/** Starts ggscope for as long as the test runs. */
export async function ggscope(args: string[], env: Record<string, string> = {}): Promise<Server> {
  const server = await start(GGSCOPE, args, env);
  afterTest(() => stop(server.process));
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

/** Records llama-server with the demo model and `more` of its options, with the page open. */
export async function record(name = 'live.ggtrace', options: string[] = [], more: string[] = []): Promise<Recorded> {
  const port = await freePort();
  const model = [LLAMA_SERVER, '-m', MODEL, '--port', String(port), '-t', '2', '-c', '2048', ...more];
  const output = join(folder, name);
  const server = await ggscope([
    'record',
    '--serve',
    '--no-open',
    '--listen',
    '127.0.0.1:0',
    '--force',
    '-o',
    output,
    ...options,
    '--',
    ...model,
  ]);
  const base = `http://127.0.0.1:${port}`;
  for (let i = 0; ; i++) {
    const ready = await fetchHere(`${base}/health`).then(
      (reply) => reply.status === 200,
      () => false,
    );
    if (ready) break;
    if (i > 300) throw new Error(`llama-server was not ready: ${server.said()}`);
    await pause(200);
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

/** Opens a page. The test fails if the page says an error on its console. */
export async function open(url: string, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, colorScheme: 'dark', ...options });
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  // A request that fails is said on the console too; tests that cut connections mean it.
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) {
      errors.push(message.text());
    }
  });
  await page.goto(url);
  afterTest(async () => {
    await context.close();
    expect(errors).toEqual([]);
  });
  return page;
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
