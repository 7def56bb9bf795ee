// The page while the model answers: the real llama-server with the demo model, recorded with --serve.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { bytes, count } from '../src/lib/format';
import type { Page as List, Region, SessionSummary } from '../src/lib/types';
import { join } from 'node:path';
import { stop } from './start.mjs';
import {
  afterwards,
  api,
  folder,
  freePort,
  ggscope,
  atOnce,
  measured,
  open,
  pause,
  record,
  serve,
  synthetic,
  until,
} from './support';

/** Evaluations that the page has drawn so far, and whether it ever drew fewer than before. */
const watchDrawn = () => {
  const state = { newest: -1, backwards: false };
  Object.assign(window, { drawnState: state });
  new PerformanceObserver((list) => {
    for (const mark of list.getEntriesByName('ggscope-drawn')) {
      const { seq } = (mark as PerformanceMark).detail;
      state.backwards ||= seq < state.newest;
      state.newest = Math.max(state.newest, seq);
    }
  }).observe({ type: 'mark', buffered: true });
};

it('tokens appear while the model answers, on two pages at once, and stay when it ends', async () => {
  const server = await record();
  const pages = [await open(`${server.url}/?view=table`), await open(`${server.url}/?view=graph`)];
  for (const page of pages) await page.evaluate(watchDrawn);
  const answer = server.ask('Why is the sky blue? Answer in two sentences.', 60);
  const newest = (page: (typeof pages)[number]) =>
    page.evaluate(() => (window as unknown as { drawnState: { newest: number } }).drawnState.newest);
  // Some while it is answering, not only all of them afterwards.
  await until(() => newest(pages[0]), { timeout: 60_000 }).toBeGreaterThan(3);
  let answering = true;
  void answer.then(() => (answering = false));
  expect(answering).toBe(true);
  await until(() => pages[0].locator('[data-test="state"]').textContent()).toContain('live');
  const text = await answer;
  expect(text.length).toBeGreaterThan(20);
  await until(async () => {
    const [session] = await api<SessionSummary[]>(server, '/sessions');
    return Promise.all(pages.map(async (page) => (await newest(page)) === session.evaluations - 1));
  }).toEqual([true, true]);
  // The words of the answer are under the tokens.
  await pages[0].keyboard.press('l');
  await until(() => pages[0].locator('[data-test="selection"]').textContent()).toMatch(/token/);
  await server.stopModel();
  await until(() => pages[0].locator('[data-test="state"]').textContent(), { timeout: 30_000 }).toContain('ended');
  await pages[0].reload();
  await until(() => pages[0].locator('[data-test="table-row"]').count()).toBeGreaterThan(3);
});

it('the cell under the cursor says what the API says of it, while the model answers', async () => {
  const server = await record('memory.ggtrace');
  const page = await open(`${server.url}/?view=memory`);
  await server.ask('Say hello.', 5);
  const disk = await api<List<Region>>(server, '/sessions/0/memory?memory=disk&limit=1000');
  const largest = disk.items.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  const end = Math.max(...disk.items.map((r) => r.start + r.bytes));
  const track = page
    .locator('[data-test="memory-track"][data-memory="DISK"] canvas[data-test="memory-canvas"]')
    .first();
  await until(() => track.isVisible()).toBe(true);
  let enough = false;
  const answers = (async () => {
    while (!enough) await server.ask('Count to fifty.', 100);
  })();
  const { box } = await measured(track);
  const x = box.x + (box.width * (largest.start + largest.bytes / 2)) / end;
  await page.mouse.move(x, box.y + box.height / 2);
  // Scope and tooltip of one moment: both are of the same token.
  const seen = () =>
    page.evaluate(() => {
      const text = (name: string) => document.querySelector(`[data-test="${name}"]`)?.textContent ?? '';
      return { scope: text('memory-scope'), tip: text('memory-tip') };
    });
  const tokens = new Set<string>();
  const begun = Date.now();
  while (tokens.size < 3 && Date.now() - begun < 60_000) {
    const { scope, tip } = await atOnce(seen);
    const token = /reads of token (\d+)$/.exec(scope)?.[1];
    if (token !== undefined && !tokens.has(token)) {
      tokens.add(token);
      const name = encodeURIComponent(largest.name);
      const of = await api<List<Region>>(server, `/sessions/0/memory?memory=disk&tokens=${token}&tensor=${name}`);
      const region = of.items.find((r) => r.start === largest.start)!;
      expect(tip).toContain(largest.name);
      expect(tip).toContain(bytes(region.bytes));
      expect(tip).toContain(`${count(region.accesses)} times, ${bytes(region.read_bytes)}`);
      expect(tip).toMatch(new RegExp(`last token\\s*${token}\\b`));
    }
    await pause(100);
  }
  enough = true;
  await answers;
  expect(tokens.size, 'tokens that were looked at as they came').toBe(3);
});

/** A connection between a page and a server that can be cut. */
async function wire(port: number) {
  const open = new Set<Socket>();
  let cut = false;
  const proxy = createServer((from) => {
    if (cut) return from.destroy();
    const to = connect(port, '127.0.0.1');
    for (const socket of [from, to]) {
      open.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        open.delete(socket);
        from.destroy();
        to.destroy();
      });
    }
    from.pipe(to).pipe(from);
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  afterwards(() => {
    for (const socket of open) socket.destroy();
    proxy.close();
  });
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    cut: () => {
      cut = true;
      for (const socket of open) socket.destroy();
    },
    mend: () => (cut = false),
  };
}

it('a lost connection is said, and afterwards no evaluation is missing', async () => {
  const server = await record('lost.ggtrace');
  const line = await wire(Number(new URL(server.url).port));
  const page = await open(`${line.url}/?view=info`);
  await page.evaluate(watchDrawn);
  const first = server.ask('Count to ten.', 30);
  await until(() => page.locator('[data-test="timeline-canvas"]').count()).toBe(1);
  line.cut();
  await until(() => page.locator('[data-test="lost"]').count(), { timeout: 20_000 }).toBe(1);
  await first;
  await server.ask('And now to five.', 20);
  line.mend();
  await until(() => page.locator('[data-test="lost"]').count(), { timeout: 30_000 }).toBe(0);
  await until(
    async () => {
      const [session] = await api<SessionSummary[]>(server, '/sessions');
      const drawn = await page.evaluate(
        () => (window as unknown as { drawnState: { newest: number; backwards: boolean } }).drawnState,
      );
      return [drawn.newest - (session.evaluations - 1), drawn.backwards];
    },
    { timeout: 20_000 },
  ).toEqual([0, false]);
});

it('a daemon without programs says how to attach one', async () => {
  const server = await ggscope(['daemon', '--listen', '127.0.0.1:0', '-d', folder], {
    GGSCOPE_SOCKET: `/tmp/ggscope-ui-test-${process.pid}.sock`,
  });
  const page = await open(server.url);
  await until(() => page.textContent('body')).toContain('No program has attached');
});

it('a program that never computes anything is shown as such', async () => {
  const args = [
    'record',
    '--serve',
    '--no-open',
    '--listen',
    '127.0.0.1:0',
    '-o',
    join(folder, 'none.ggtrace'),
    '--',
    '/bin/sleep',
    '30',
  ];
  const server = await ggscope(args);
  const page = await open(server.url);
  await until(() => page.textContent('body')).toMatch(/No program has attached/);
  const program = execFileSync('ps', ['-o', 'pid=', '--ppid', String(server.process.pid)], { encoding: 'utf8' });
  process.kill(Number(program), 'SIGKILL');
  await until(() => page.locator('[data-test="notice"]').textContent()).toMatch(/sleep made no ggml call.*SIGKILL/);
});

it('a program that is killed is said on the page, and later of its trace', async () => {
  const server = await record('murdered.ggtrace');
  const page = await open(`${server.url}/?view=info`);
  const answer = server.ask('Why is the sky blue? Answer in two sentences.', 400).catch(() => 'cut off');
  await until(async () => (await api<SessionSummary[]>(server, '/sessions'))[0].evaluations, {
    timeout: 60_000,
  }).toBeGreaterThan(5);
  await until(() => page.locator('[data-test="ending"]').count()).toBe(0);
  await server.stopModel('SIGKILL');
  expect(await answer).toBe('cut off');
  const line = page.locator('[data-test="ending"]');
  await until(() => line.count()).toBe(1);
  const [{ tokens, state }] = await api<SessionSummary[]>(server, '/sessions');
  const text = `llama-server was killed by SIGKILL; the trace has everything up to token ${tokens - 1}`;
  await until(async () => [await line.textContent(), state]).toEqual([text, 'ended']);
  await until(() => page.locator('[data-test="state"]').textContent()).toMatch(/ended · SIGKILL/);
  await until(() => page.locator('[data-test="ended"]').textContent()).toBe(text);
  const trace = /(\S+murdered\.ggtrace)/.exec(server.process.spawnargs.join(' '))![1];
  const later = await open(`${(await serve([trace])).url}/?view=info`);
  await until(() => later.locator('[data-test="ending"]').textContent()).toBe(text);
  await until(() => later.locator('[data-test="problem"]').first().textContent()).toContain(text);
});

it('a collector that is killed leaves a trace that opens as cut, with its tokens', async () => {
  const server = await record('killed.ggtrace');
  await server.ask('Say hello.', 10);
  await until(async () => (await api<SessionSummary[]>(server, '/sessions'))[0].evaluations).toBeGreaterThan(5);
  const trace = /(\S+killed\.ggtrace)/.exec(server.process.spawnargs.join(' '))![1];
  // What was received is on disk after five seconds: another collector says what that is.
  const other = await serve([trace]);
  await until(async () => (await api<SessionSummary[]>(other, '/sessions'))[0].evaluations).toBeGreaterThan(5);
  await server.stopModel();
  await stop(server.process, 'SIGKILL');
  const again = await serve([trace]);
  const page = await open(`${again.url}/?view=table`);
  await until(() => page.locator('[data-test="table-row"]').count(), { timeout: 20_000 }).toBeGreaterThan(3);
  await until(() => page.locator('[data-test="state"]').textContent()).toContain('cut');
  await until(() => page.locator('[data-test="ending"]').textContent()).toMatch(
    /the recording was cut.* up to token \d+/,
  );
});

it('a trace that another process is writing grows on the page', async () => {
  const server = await record('written.ggtrace');
  await server.ask('Say hello.', 10);
  await until(async () => (await api<SessionSummary[]>(server, '/sessions'))[0].evaluations).toBeGreaterThan(5);
  const trace = /(\S+written\.ggtrace)/.exec(server.process.spawnargs.join(' '))![1];
  const other = await serve([trace]);
  const page = await open(`${other.url}/?view=table`);
  await page.evaluate(watchDrawn);
  await until(() => page.locator('[data-test="table-row"]').count(), { timeout: 20_000 }).toBeGreaterThan(3);
  const before = (await api<SessionSummary[]>(other, '/sessions'))[0].evaluations;
  await server.ask('Count to ten.', 30);
  await until(() => page.evaluate(() => (window as unknown as { drawnState: { newest: number } }).drawnState.newest), {
    timeout: 30_000,
  }).toBeGreaterThan(before + 5);
});

it('another collector at the same address is not taken for the one before', async () => {
  const [first, second] = [synthetic('first.ggtrace', 'llama', 4, 90), synthetic('second.ggtrace', 'llama', 4, 12)];
  const serveAt = (port: number, ...files: string[]) =>
    ggscope(['open', '--no-open', '--listen', `127.0.0.1:${port}`, ...files]);
  const one = await serveAt(await freePort(), first);
  const port = Number(new URL(one.url).port);
  const page = await open(`${one.url}/?session=0&view=table&tokens=80&layer=2`);
  const legend = page.locator('[data-test="timeline-legend"]');
  const session = () => new URL(page.url()).searchParams;
  await until(() => page.textContent('[data-test="session"]')).toContain('first.ggtrace');
  await stop(one.process);
  const two = await serveAt(port, second);
  await until(() => legend.textContent(), { timeout: 20_000 }).toMatch(/GENERATE\s*12\b/);
  await until(() => [session().get('session'), session().get('tokens'), session().get('view')]).toEqual([
    '0',
    null,
    'table',
  ]);
  await until(() => page.textContent('body')).not.toContain('there is no session');
  // The same recording under another number is what it was.
  await page.goto(`${two.url}/?session=0&view=table&tokens=7`);
  await until(() => page.locator('[data-test="table-row"]').count()).toBeGreaterThan(3);
  await stop(two.process);
  await serveAt(port, first, second);
  await until(() => session().get('session'), { timeout: 20_000 }).toBe('1');
  await until(() => session().get('tokens')).toBe('7');
});
