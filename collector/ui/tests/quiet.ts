// When a page is done: what it has asked for has come, and what has come has been drawn. And whether markup out of a trace
// or a model has come to life meanwhile.
import type { BrowserContext, Locator, Page, Request } from 'playwright-core';
import { measured, until } from './support';

/** A timer up to this is about what is on the screen; a longer one takes something away later or asks for more, milliseconds. */
const SHORT = 300;
/** Frames without a change: what is seen to come into sight asks in the frame after. */
const FRAMES = 4;

declare global {
  interface Window {
    ggscopeTimers: Set<number>;
  }
}

/** Runs in the page before all else: knows the short timers that have not run. */
export function watchTimers(short: number): void {
  const waiting = (window.ggscopeTimers = new Set<number>());
  const [set, clear] = [window.setTimeout.bind(window), window.clearTimeout.bind(window)];
  const setTimeout = (run: (...all: unknown[]) => void, ms = 0, ...all: unknown[]) => {
    const id = set(() => {
      waiting.delete(id);
      run(...all);
    }, ms);
    if (ms <= short) waiting.add(id);
    return id;
  };
  const clearTimeout = (id?: number) => {
    waiting.delete(id!);
    clear(id);
  };
  Object.assign(window, { setTimeout, clearTimeout });
}

/** Has a page tell when it is quiet; to be called before it loads. */
export async function watch(context: BrowserContext): Promise<void> {
  await context.addInitScript(watchHarm);
  await context.addInitScript(watchTimers, SHORT);
  context.on('page', watchRequests);
}

/** Runs in the page: true when nothing changes for some frames and nothing is waited for; false if something is. */
function unchanged(frames: number): Promise<boolean> {
  /** Whether the page has not begun, or a view's code is not here. */
  const begins = () =>
    document.querySelector('#app')?.childElementCount === 0 ||
    [...document.querySelectorAll('[data-panel] > .body')].some((body) => body.childElementCount === 0);
  const asks = () =>
    [...document.querySelectorAll('#app p, #app span, [aria-busy="true"]')].some((element) => {
      const { top, bottom } = element.getBoundingClientRect();
      const waits = element.ariaBusy === 'true' || /^(Asking the collector…|asking…)$/.test(element.textContent);
      return waits && bottom > 0 && top < innerHeight;
    });
  const moves = () =>
    document.getAnimations().some((of) => of.playState === 'running' && of.effect?.getTiming().iterations !== Infinity);
  const waits = () =>
    document.fonts.status === 'loading' || window.ggscopeTimers.size > 0 || begins() || asks() || moves();
  return new Promise((resolve) => {
    let changed = false;
    const observer = new MutationObserver(() => (changed = true));
    observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
    let drawn = 0;
    const frame = () => {
      if (!changed && ++drawn < frames) return void requestAnimationFrame(frame);
      observer.disconnect();
      resolve(!changed && !waits());
    };
    requestAnimationFrame(frame);
  });
}

/** What each page has asked for and not got. */
const waiting = new WeakMap<Page, Set<Request>>();

/** Begins to count what a page asks for; a stream of events has no end. */
function watchRequests(page: Page): void {
  const asked = new Set<Request>();
  page.on('request', (request) => request.resourceType() !== 'eventsource' && asked.add(request));
  page.on('requestfinished', (request) => asked.delete(request));
  page.on('requestfailed', (request) => asked.delete(request));
  waiting.set(page, asked);
}

/** Waits until what is on the screen has come and has been drawn. */
export async function quiet(page: Page): Promise<void> {
  const look = async () => {
    const same = await page.evaluate(unchanged, FRAMES);
    return same && waiting.get(page)!.size === 0;
  };
  await until(look, { interval: 10, message: 'the page changes no more' }).toBe(true);
}

/** Runs in the page before all else: whenever the markup of our hostile traces comes to life, that is an error of the page. */
export function watchHarm(): void {
  // Once is enough: what lives is found again with every change of the page.
  let told = false;
  const tell = () => {
    if (!told) console.error(`markup came to life: ${location.href}`);
    told = true;
  };
  const look = () => (document.title === 'harmed' || document.querySelector('img[src="x"]') ? tell() : undefined);
  new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
  // An image that was never put into the page asks for its picture too.
  const title = Object.getOwnPropertyDescriptor(Document.prototype, 'title')!;
  Object.defineProperty(document, 'title', {
    get: () => title.get!.call(document),
    set: (text: string) => (text === 'harmed' ? tell() : title.set!.call(document, text)),
  });
}

/** Waits for two frames: what an event changes has been drawn then. */
export function drawn(page: Page): Promise<void> {
  return page.evaluate(
    () => new Promise<void>((done) => requestAnimationFrame(() => requestAnimationFrame(() => done()))),
  );
}

/** Puts the pointer on some places of an element, whose tooltips are made of names out of a trace. */
export async function pointAround(page: Page, of: Locator): Promise<void> {
  const { box } = await measured(of);
  for (const [x, y] of [
    [0.3, 0.4],
    [0.5, 0.6],
    [0.7, 0.8],
  ]) {
    await page.mouse.move(box.x + box.width * x, box.y + box.height * y);
    await drawn(page);
  }
  await quiet(page);
}
