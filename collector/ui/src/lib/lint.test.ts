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
    `await page.waitForTimeout(300);`,
    `await new Promise((done) => setTimeout(done, 300));`,
  ])
    expect(of(text), text).toBe(1);
});

it('one that waits for what it expects is not', () => {
  for (const text of [
    `await until(() => page.title()).toBe('a');`,
    `await expect.poll(() => row.count()).toBe(1);`,
    `const text = await settled(() => row.textContent());\nexpect(text).toContain('a');`,
    `const last = Number(await row.textContent());\nexpect(await api(server, '/a?tokens=' + last)).toBe(1);`,
    `it('a', () => { const map = await row.count(); });\nit('b', () => { const map = api(); expect(map).toBe(1); });`,
    `expect(answer.title).toBe('a');`,
  ])
    expect(of(text), text).toBe(0);
});

it('no browser test looks once', () => {
  const folder = new URL('../../tests/', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
  expect(files.length).toBeGreaterThan(10);
  expect(files.flatMap((name) => problems(name, readFileSync(new URL(name, folder), 'utf8')))).toEqual([]);
});
