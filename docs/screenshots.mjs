#!/usr/bin/env node
// Takes the pictures of docs/img: every view of the page, on a real run. `make shots` calls it after `make demo`.
//
//   docs/screenshots.mjs [TRACE [FOLDER]]     the demo's trace and docs/img, if nothing is said

import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from '../collector/ui/node_modules/playwright-core/index.mjs';

const ROOT = new URL('..', import.meta.url).pathname;
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
const trace = process.argv[2] ?? join(TARGET, 'demo.ggtrace');
const folder = process.argv[3] ?? join(ROOT, 'docs/img');
const SESSION = 'session=0';

/** Name, address, colours, and what to wait for or do before the picture. */
const SHOTS = [
  ['timeline', `${SESSION}&view=graph&tokens=76&layer=5`, 'dark', (page) => page.locator('[data-panel="timeline"] canvas').first().press('Enter')],
  ['graph', `${SESSION}&view=graph&tokens=76`, 'dark'],
  ['graph-layer', `${SESSION}&view=graph&tokens=76&layer=5&node=161&tensor=Qcur-5`, 'dark'],
  ['memory', `${SESSION}&view=memory&tokens=76&tensor=blk.5.attn_q.weight`, 'dark'],
  ['table', `${SESSION}&view=table&layer=5&op=MUL_MAT`, 'dark'],
  ['analytics', `${SESSION}&view=analytics&tokens=76`, 'dark'],
  ['compare', `${SESSION}&view=compare&with=1`, 'dark'],
  ['session', `${SESSION}&view=info`, 'dark'],
  ['light', `${SESSION}&view=graph+table&tokens=70..80&layer=5`, 'light'],
];

const child = spawn(join(TARGET, 'release/ggscope'), ['open', '--no-open', '--listen', '127.0.0.1:0', trace, trace], {
  stdio: ['ignore', 'ignore', 'pipe'],
});
const url = await new Promise((resolve, reject) => {
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said += text;
    const found = /http:\/\/[0-9.:]+(?=\/)/.exec(said);
    if (found) resolve(found[0]);
  });
  child.on('exit', () => reject(new Error(`ggscope open ${trace} ended: ${said}`)));
});
mkdirSync(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--enable-unsafe-swiftshader', '--use-gl=angle', '--use-angle=swiftshader', '--no-first-run'],
});
try {
  for (const [name, query, colorScheme, before] of SHOTS) {
    const size = name === 'light' ? { width: 1920, height: 1080 } : { width: 1280, height: 720 };
    const page = await browser.newPage({ viewport: size, colorScheme });
    await page.goto(`${url}/?${query}`);
    await page.waitForTimeout(3000);
    if (before) {
      await before(page);
      await page.waitForTimeout(1500);
    }
    await page.screenshot({ path: join(folder, `${name}.png`) });
    await page.close();
    console.log(join(folder, `${name}.png`));
  }
} finally {
  await browser.close();
  child.removeAllListeners('exit');
  child.kill('SIGINT');
}
