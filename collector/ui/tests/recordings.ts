// Recordings of the demo model that test files look at: each is made by the first test that needs it, once for the whole
// suite. What a test changes, or watches as it grows, it records itself.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from 'vitest';
import { stop } from './start.mjs';
import { GGSCOPE, MODEL, program, recordInto, settled } from './support';

/** Longest that a test waits for another file that is just making a recording, milliseconds. */
const LATEST = 100_000;

/** The file that `make` has made: by this call, or by another one anywhere in the suite. */
async function once(name: string, make: (path: string) => Promise<void> | void): Promise<string> {
  const path = join(inject('suiteFolder'), name);
  const done = `${path}.done`;
  try {
    // Only one of several callers makes the folder.
    mkdirSync(`${path}.begun`);
  } catch {
    await settled(() => existsSync(done), LATEST);
    return path;
  }
  await make(path);
  writeFileSync(done, '');
  return path;
}

/** llama-simple with the demo model; `capture` says of what values are kept. */
export function simple(path: string, capture: string, prompt: string, tokens: number, model = MODEL): void {
  const host = [program('llama-simple'), '-m', model, '-n', String(tokens), prompt];
  const args = ['record', '-q', '--force', '--capture', capture, '--ring-size', '64M', '-o', path, '--', ...host];
  execFileSync(GGSCOPE, args, { stdio: 'ignore' });
}

/** llama-server, that has answered one question and has ended. */
async function answered(path: string, question: string, tokens: number, more: string[] = []): Promise<void> {
  const server = await recordInto(path, ['--capture', 'attention,values', '--ring-size', '64M'], more);
  await server.ask(question, tokens);
  await stop(server.process);
}

const KEYS = 'Where are the keys? The keys to the cabinet are on the table.';
const INSIDE = 'When Mary and John went to the store, John gave a drink to Mary. Tom gave a flower 🎉 to';
/** Its pieces are tokens of their own. */
const HARM = `Where are the keys? <img src=x onerror="document.title='harmed'"> The keys to the cabinet are on the table.`;
const AGAIN = 'The keys to the cabinet are here. The keys to the cabinet are there. Where are the keys to the cabinet?';

/** All that can be captured, of a short text. */
export const recordedInside = () =>
  once('inside.ggtrace', (path) => simple(path, 'attention,values,layers,logits', INSIDE, 8));

/** Attention of a question. */
export const recordedKeys = () => once('keys.ggtrace', (path) => answered(path, KEYS, 8));

/** Attention of the same question, with a quantised cache. */
export const recordedKeysQ8 = () => once('keys-q8.ggtrace', (path) => answered(path, KEYS, 8, ['-ctk', 'q8_0']));

/** Attention of another question. */
export const recordedOther = () => once('other.ggtrace', (path) => answered(path, 'Something else altogether.', 3));

/** Attention of a question with markup in it. */
export const recordedHarm = () => once('harm.ggtrace', (path) => answered(path, HARM, 12));

/** Attention of a text that says things again, which some heads see. */
export const recordedAgain = () => once('again.ggtrace', (path) => answered(path, AGAIN, 12));

/** Two tests of llama-bench: a context each. */
export const recordedBench = () =>
  once('bench.ggtrace', (path) => {
    const bench = [program('llama-bench'), '-m', MODEL, '-p', '16', '-n', '8', '-r', '1', '-t', '2'];
    const capture = ['--capture', 'attention,layers,logits', '--ring-size', '64M'];
    execFileSync(GGSCOPE, ['record', '-q', '--force', '-o', path, ...capture, '--', ...bench], { stdio: 'ignore' });
  });
