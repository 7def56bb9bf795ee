// Refuses what makes a browser test depend on how fast the machine is: a look at the page that does not wait for what it
// expects, a key or a click on a place before the page is there, and a pause of a fixed length. Run with `npm run lint`.
//
// A look at the page belongs into `until(() => …)`, which looks again until the expectation holds. A value that a test goes
// on with, be it a number to click at, comes from `settled(() => …)`, which waits for one. What has to stay as it is, is
// expected with `stays`.
import { readdirSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';

/** Methods of Playwright's pages and locators that answer at once. */
const READS = new Set(
  `textContent innerText inputValue getAttribute count isVisible isHidden isEnabled isDisabled isChecked allTextContents
  allInnerTexts title url evaluate evaluateAll all boundingBox screenshot`.split(/\s+/),
);
/** Calls whose argument is run again until it is as expected. */
const WAITS = new Set(['until', 'poll', 'waitUntil', 'settled', 'steady', 'measured', 'cellOf', 'stays', 'atOnce']);

/** Calls after which a page may not be there yet. */
const LOADS = new Set(['open', 'goto', 'reload', 'newPage', 'goBack']);
/** Methods of locators that wait until the element is there and can be used. */
const USES = new Set(
  `click dblclick hover fill check uncheck selectOption focus press waitFor scrollIntoViewIfNeeded quiet pointAround`.split(
    ' ',
  ),
);
/** What a page has asked for and got: it says the same always. */
const SETTLED = new Set(['request', 'response', 'route']);
/** What is given to the page without waiting for any of it. */
const BLIND = new Set(['keyboard', 'mouse']);

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
  /** Whether a call is run again until it is as expected, or is a step of a function that is. @param {ts.Node} node @returns {boolean} */
  const isWaited = (node) => {
    const { parent } = node;
    if (ts.isCallExpression(parent) && parent.expression !== node && WAITS.has(called(parent))) return true;
    if (ts.isCallExpression(parent) && /^evaluate/.test(called(parent)) && parent.expression !== node) return true;
    if (ts.isArrowFunction(node) && ts.isVariableDeclaration(parent)) return true;
    if (ts.isFunctionDeclaration(node)) return node.name !== undefined && isOfPage(node.name);
    return !ts.isSourceFile(parent) && isWaited(parent);
  };
  /** A call that looks, by a method of Playwright's or a function that does. @param {ts.CallExpression} call */
  const looksOnce = (call) =>
    ts.isPropertyAccessExpression(call.expression)
      ? READS.has(called(call)) && !SETTLED.has(call.expression.expression.getText())
      : ts.isIdentifier(call.expression) && !WAITS.has(called(call)) && isOfPage(call.expression);
  /** Whether nothing is done with what a call gives. @param {ts.Node} call */
  const isUnused = (call) =>
    ts.isExpressionStatement(call.parent) ||
    (ts.isAwaitExpression(call.parent) && ts.isExpressionStatement(call.parent.parent));
  /** The calls of a function in the order in which they are run, those of functions in it left out. @param {ts.Node} node @returns {ts.CallExpression[]} */
  const steps = (node) => {
    /** @type {ts.CallExpression[]} */
    const all = [];
    ts.forEachChild(node, (child) => {
      if (!ts.isFunctionLike(child)) all.push(...steps(child));
    });
    if (ts.isCallExpression(node)) all.push(node);
    return all;
  };
  /** @param {ts.FunctionLikeDeclaration} body */
  const order = (body) => {
    let isThere = true;
    for (const call of steps(body)) {
      const of = ts.isPropertyAccessExpression(call.expression) ? call.expression.expression : undefined;
      if (of && ts.isPropertyAccessExpression(of) && BLIND.has(of.name.text)) {
        if (!isThere) say(call, 'comes before the page is there; wait for what it is about first');
        isThere = true;
      } else if (LOADS.has(called(call))) isThere = false;
      else if (WAITS.has(called(call)) || USES.has(called(call))) isThere = true;
      else if (ts.isIdentifier(call.expression) && waits.has(call.expression.text)) isThere = true;
    }
  };
  /** Functions of the file that wait for something of the page. @type {Set<string>} */
  const waits = new Set();
  /** @param {ts.Node} node */
  const collect = (node) => {
    const value = ts.isVariableDeclaration(node) ? node.initializer : node;
    const name = ts.isVariableDeclaration(node) || ts.isFunctionDeclaration(node) ? node.name : undefined;
    if (name && ts.isIdentifier(name) && value && ts.isFunctionLike(value))
      if (steps(value).some((call) => WAITS.has(called(call)) || USES.has(called(call)))) waits.add(name.text);
    ts.forEachChild(node, collect);
  };
  collect(file);
  /** @param {ts.Node} node */
  const visit = (node) => {
    if (ts.isCallExpression(node)) {
      const isExpect = ts.isIdentifier(node.expression) && node.expression.text === 'expect';
      if (isExpect && node.arguments.some(isLook)) say(node, 'looks at the page once; use until(() => …)');
      else if (looksOnce(node) && !isWaited(node) && !isUnused(node) && !within(node))
        say(node, 'looks at the page once; use settled(() => …)');
      if (node.expression.getText() === 'vi.waitUntil' || node.expression.getText() === 'vi.waitFor')
        say(node, 'waits for a second only; use settled(() => …)');
      if (['waitForTimeout', 'setTimeout'].includes(called(node))) say(node, 'waits for a fixed time');
    }
    if (ts.isFunctionLike(node)) order(/** @type {ts.FunctionLikeDeclaration} */ (node));
    ts.forEachChild(node, visit);
  };
  /** Whether an expectation around it is refused already. @param {ts.Node} node @returns {boolean} */
  const within = (node) =>
    ts.isSourceFile(node)
      ? false
      : (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'expect') ||
        within(node.parent);
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
