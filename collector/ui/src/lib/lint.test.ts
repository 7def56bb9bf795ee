import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { problems } from '../../tests/lint.mjs';

const of = (text: string) => problems('a.ts', `import { expect } from 'vitest';\n${text}`).length;

it('a browser test that looks once, or waits for a fixed time, is found', () => {
  const selected = 'const selected = (page) => Object.fromEntries(new URL(page.url()).search);\n';
  for (const text of [
    `expect(await page.title()).toBe('a');`,
    `expect(Number(await number('a')) + 1).toBe(2);\nconst number = async (name) => row.getAttribute(name);`,
    `${selected}expect(selected(page).key).toBe('1');`,
    `${selected}expect([1, selected(page).key]).toEqual([1, '1']);`,
    `const text = await row.textContent();\nexpect(text).toContain('a');`,
    `const { a: [x] } = await page.evaluate(look);\nexpect(x).toBe(1);`,
    `function place() { return page.locator('a').count(); }\nexpect(await place()).toBe(1);`,
    `const box = (await canvas.boundingBox())!;\nawait canvas.click({ position: box });`,
    `const number = async (name) => Number(await row.getAttribute(name));\nmove(await number('left'));`,
    `await until(() => a.textContent()).toBe(await b.textContent());`,
    `async function go() { const page = await open('a'); await page.keyboard.press('a'); }`,
    `async function go() { await page.reload(); await page.mouse.click(1, 1); }`,
    `if ((await row.textContent()) === 'a') go();`,
    `const to = await vi.waitUntil(() => page.url());`,
    `await page.waitForTimeout(300);`,
    `await new Promise((done) => setTimeout(done, 300));`,
  ])
    expect(of(text), text).toBeGreaterThan(0);
});

it('one that waits for what it expects is not', () => {
  for (const text of [
    `await until(() => page.title()).toBe('a');`,
    `await expect.poll(() => row.count()).toBe(1);`,
    `const text = await settled(() => row.textContent());\nexpect(text).toContain('a');`,
    `it('a', () => { const map = await steady(() => row.count()); });\nit('b', () => { const map = api(); expect(map).toBe(1); });`,
    `expect(answer.title).toBe('a');`,
    `const { box } = await measured(canvas);\nawait page.mouse.click(box.x, box.y);`,
    `const look = async () => (await canvas.boundingBox())?.x;\nawait until(look).toBe(1);`,
    `const at = await steady(() => row.textContent());\nawait until(() => row.textContent()).not.toBe(at);`,
    `async function go() { const page = await open('a'); await until(() => row.count()).toBe(1); await page.keyboard.press('a'); }`,
    `async function go() { await page.goto('a'); await quiet(page); await page.mouse.click(1, 1); }`,
    `await page.evaluate(watch);`,
    `page.on('response', (response) => all.push(response.url()));`,
  ])
    expect(of(text), text).toBe(0);
});

it('no browser test looks once', () => {
  const folder = new URL('../../tests/', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
  expect(files.length).toBeGreaterThan(10);
  expect(files.flatMap((name) => problems(name, readFileSync(new URL(name, folder), 'utf8')))).toEqual([]);
});
