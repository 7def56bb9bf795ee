// Starts ggscope and Chromium, for the browser tests, benches/page.mjs and docs/screenshots.mjs.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chromium } from 'playwright-core';

/** Milliseconds until ggscope has to have said where it answers. */
const LATEST = 60_000;

/**
 * Debian's Chromium, headless, asking nobody but the page's server. How it draws is left to it: without a graphics card it
 * puts the page together on the processor, and only WebGL goes through SwiftShader.
 * @param {string[]} more
 */
function options(more) {
  return {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--enable-unsafe-swiftshader',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      ...more,
    ],
  };
}

/** Starts it. */
export function launch(...more) {
  return chromium.launch(options(more));
}

/** Starts it for several who connect to it, each with pages of its own. */
export function launchForAll() {
  return chromium.launchServer(options([]));
}

/** Starts it so that its processes can be measured. */
export async function launchMeasured() {
  const server = await launchForAll();
  const browser = await chromium.connect(server.wsEndpoint());
  const close = async () => {
    await browser.close();
    await server.close();
  };
  return { browser, pid: server.process().pid, close };
}

/**
 * Starts ggscope, and waits until it says where it answers. It opens no browser.
 * @param {string} program
 * @param {string[]} args
 * @param {Record<string, string>} env
 */
export async function start(program, args, env = {}) {
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, BROWSER: '', DISPLAY: '', WAYLAND_DISPLAY: '', ...env },
  });
  let said = '';
  child.stderr.setEncoding('utf8');
  /** @type {string} */
  const url = await new Promise((resolve, reject) => {
    const what = `ggscope ${args.join(' ')}`;
    const late = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${what} said no address: ${said}`));
    }, LATEST);
    child.stderr.on('data', (text) => {
      said += text;
      // All of it: an address may come in pieces.
      const found = /http:\/\/[0-9.:]+(?=\/)/.exec(said);
      if (!found) return;
      clearTimeout(late);
      resolve(found[0]);
    });
    child.on('error', (error) => {
      clearTimeout(late);
      reject(error);
    });
    child.on('exit', () => {
      clearTimeout(late);
      reject(new Error(`${what} ended: ${said}`));
    });
  });
  return { url, process: child, said: () => said };
}

/**
 * Ends a process that was started here, and waits for its end.
 * @param {import('node:child_process').ChildProcess} child
 * @param {NodeJS.Signals} signal
 */
export async function stop(child, signal = 'SIGINT') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  const late = setTimeout(() => child.kill('SIGKILL'), 20_000);
  await ended;
  clearTimeout(late);
}
