// Refuses what makes a browser test depend on how fast the machine is: a look at the page that does not wait for what it
// expects, and a pause of a fixed length. Run with `npm run lint`.
//
// A look at the page belongs into `until(() => …)`, which looks again until the expectation holds; so does a value that was
// read before and is expected afterwards: `settled(() => …)` waits for one. What has to stay as it is, is expected with
// `stays`.
import { readdirSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';

/** Methods of Playwright's pages and locators that answer at once. */
const READS = new Set(
  `textContent innerText inputValue getAttribute count isVisible isHidden isEnabled isDisabled isChecked allTextContents
  allInnerTexts title url evaluate evaluateAll`.split(/\s+/),
);
/** Calls whose argument is run again until it is as expected. */
const WAITS = new Set(['until', 'poll', 'waitUntil', 'settled', 'stays', 'atOnce']);

/** Calls whose value is of the server, whatever they are asked. */
const ANSWERS = new Set(['api', 'matrix', 'fetchHere', 'serve', 'record', 'first']);

/** @param {ts.CallExpression} call */
const called = (call) =>
  ts.isIdentifier(call.expression)
    ? call.expression.text
    : ts.isPropertyAccessExpression(call.expression)
      ? call.expression.name.text
      : '';

/**
 * @param {string} name
 * @param {string} text
 * @returns {string[]} What is wrong, with its place.
 */
export function problems(name, text) {
  const file = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
  /** By the scope that they are declared in: names, and whether they are of the page. @type {Map<ts.Node, Map<string, boolean>>} */
  const scopes = new Map();
  /** @param {ts.Node} node @returns {ts.Node} */
  const scopeOf = (node) =>
    ts.isSourceFile(node) || ts.isBlock(node) || ts.isFunctionLike(node) ? node : scopeOf(node.parent);
  /** @param {ts.Identifier} name */
  const isOfPage = (name) => {
    for (let scope = scopeOf(name); ; scope = scopeOf(scope.parent)) {
      const known = scopes.get(scope)?.get(name.text);
      if (known !== undefined) return known;
      if (ts.isSourceFile(scope)) return false;
    }
  };
  /** Whether an identifier only names a field. @param {ts.Identifier} node */
  const isField = (node) =>
    (ts.isPropertyAccessExpression(node.parent) && node.parent.name === node) ||
    (ts.isPropertyAssignment(node.parent) && node.parent.name === node);
  /** @param {ts.Node} node @returns {boolean} */
  const isLook = (node) => {
    if (ts.isCallExpression(node)) {
      if (ts.isPropertyAccessExpression(node.expression) && READS.has(called(node))) return true;
      if (WAITS.has(called(node)) || ANSWERS.has(called(node))) return false;
    }
    if (ts.isIdentifier(node) && !isField(node)) return isOfPage(node);
    return ts.forEachChild(node, isLook) ?? false;
  };
  let changed = true;
  /** @param {ts.Node} node */
  const declarations = (node) => {
    const value = ts.isVariableDeclaration(node) || ts.isBindingElement(node) ? node.initializer : undefined;
    const body = ts.isFunctionDeclaration(node) ? node.body : value;
    if (ts.isVariableDeclaration(node) || ts.isFunctionDeclaration(node) || ts.isParameter(node)) {
      const look = body ? isLook(body) : false;
      const scope = scopeOf(node.parent);
      const names = scopes.get(scope) ?? new Map();
      scopes.set(scope, names);
      /** @param {ts.Node} name */
      const add = (name) => {
        if (!ts.isIdentifier(name)) return void ts.forEachChild(name, add);
        changed ||= names.get(name.text) !== look;
        names.set(name.text, look);
      };
      if (node.name) add(node.name);
    }
    ts.forEachChild(node, declarations);
  };
  while (changed) {
    changed = false;
    declarations(file);
  }

  /** @type {string[]} */
  const found = [];
  /** @param {ts.Node} node @param {string} why */
  const say = (node, why) => {
    const { line } = file.getLineAndCharacterOfPosition(node.getStart());
    found.push(`${name}:${line + 1}: ${why}: ${node.getText().split('\n')[0]}`);
  };
  /** @param {ts.Node} node */
  const visit = (node) => {
    if (ts.isCallExpression(node)) {
      if (ts.isIdentifier(node.expression) && node.expression.text === 'expect' && node.arguments.some(isLook))
        say(node, 'looks at the page once; use until(() => …)');
      if (['waitForTimeout', 'setTimeout'].includes(called(node))) say(node, 'waits for a fixed time');
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = new URL('.', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
  const found = files.flatMap((name) => problems(`tests/${name}`, readFileSync(new URL(name, folder), 'utf8')));
  for (const line of found) console.error(line);
  if (found.length) process.exit(1);
}
