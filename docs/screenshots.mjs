#!/usr/bin/env node
// Takes the pictures of docs/img: every view of the page, on a real run. `make shots` calls it after `make demo`.
//
//   docs/screenshots.mjs [TRACE [FOLDER]]     the demo's trace and docs/img, if nothing is said
//
// What is inside a run is shown of one more, which is recorded here.

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch, start, stop } from '../collector/ui/tests/start.mjs';

const ROOT = new URL('..', import.meta.url).pathname;
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
const trace = process.argv[2] ?? join(TARGET, 'demo.ggtrace');
const folder = process.argv[3] ?? join(ROOT, 'docs/img');
const MODEL = join(ROOT, 'vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf');
const SESSION = 'session=0';
const INSIDE = 'session=2';
const PROMPT = 'When Mary and John went to the store, John gave a drink to Mary. When Tom and Anna went to the park, Tom gave a flower to';

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
  ['model', `${SESSION}&view=model&full=model`, 'dark'],
  ['model-graph', `${SESSION}&view=model&full=model&tab=graph&open=layer_4,layer_5&layer=5&part=layer_5_head_3&tensor=blk.5.attn_q.weight`, 'dark'],
  ['model-time', `${SESSION}&view=model&full=model&tab=graph&paint=time&open=layer_5`, 'light'],
  ['model-cost', `${SESSION}&view=model&full=model&tab=cost`, 'dark'],
  ['model-quant', `${SESSION}&view=model&full=model&tab=quant&layer=5&tensor=blk.5.ffn_down.weight`, 'dark'],
  ['model-ranks', `${SESSION}&view=model&full=model&tab=ranks`, 'dark'],
  ['attention', `${INSIDE}&view=attention&layer=5&head=3`, 'dark'],
  ['attention-3d', `${INSIDE}&view=attention&attention=space&full=attention&layer=5&head=3`, 'dark'],
  ['heads', `${INSIDE}&view=heads`, 'dark'],
  ['layers', `${INSIDE}&view=layers`, 'dark'],
  ['light', `${SESSION}&view=graph+table&tokens=70..80&layer=5`, 'light'],
];

const ggscope = join(TARGET, 'release/ggscope');
const inside = join(TARGET, 'inside.ggtrace');
const simple = [join(ROOT, 'vendor/build/bin/llama-simple'), '-m', MODEL, '-n', '12', PROMPT];
execFileSync(ggscope, ['record', '-q', '--force', '--capture', 'attention,values,layers', '-o', inside, '--', ...simple], { stdio: 'ignore' });
const server = await start(ggscope, ['open', '--no-open', '--listen', '127.0.0.1:0', trace, trace, inside, '--model', MODEL]);
mkdirSync(folder, { recursive: true });
const browser = await launch();
try {
  for (const [name, query, colorScheme, before] of SHOTS) {
    const size = colorScheme === 'light' ? { width: 1920, height: 1080 } : { width: 1280, height: 720 };
    const page = await browser.newPage({ viewport: size, colorScheme });
    await page.goto(`${server.url}/?${query}`);
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
  await stop(server.process);
}
