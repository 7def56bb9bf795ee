// What is wrong with how a page looks, found in the page itself: texts that are hard to read, that are cut off, or that
// lie on each other. What is painted on a canvas is not seen here.

/** Runs in the page: gives a line for each fault. It may use nothing from outside of itself. */
export function faults(): string[] {
  /** Least contrast of a text with what it lies on. */
  const LEAST = 4.5;
  /** Pixels that a glyph may reach over an edge. */
  const OVER = 2;
  /** Width of a text that ends with an ellipsis, of which enough is left. */
  const READABLE = 24;
  type Rgba = [number, number, number, number];
  interface Box {
    left: number;
    top: number;
    right: number;
    bottom: number;
  }
  interface Seen {
    text: string;
    of: Element;
    box: Box;
  }
  const found = new Set<string>();
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })!;
  const known = new Map<string, Rgba>();

  function rgba(color: string): Rgba {
    let parts = known.get(color);
    if (!parts) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      parts = [r, g, b, a / 255];
      known.set(color, parts);
    }
    return parts;
  }
  // Every text asks about all that it lies in.
  const styles = new Map<Element, CSSStyleDeclaration>();
  function styleOf(element: Element): CSSStyleDeclaration {
    let style = styles.get(element);
    if (!style) styles.set(element, (style = getComputedStyle(element)));
    return style;
  }
  const over = ([r, g, b, a]: Rgba, [R, G, B]: Rgba): Rgba => [
    r * a + R * (1 - a),
    g * a + G * (1 - a),
    b * a + B * (1 - a),
    1,
  ];
  function light([r, g, b]: Rgba): number {
    const [R, G, B] = [r, g, b].map((part) => {
      const x = part / 255;
      return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  }
  function* up(element: Element): Generator<Element> {
    for (let at: Element | null = element; at; at = at.parentElement) yield at;
  }
  /** What an element lies on; null where that is a picture. */
  function ground(element: Element): Rgba | null {
    const layers: Rgba[] = [];
    for (const at of up(element)) {
      const style = styleOf(at);
      if (style.backgroundImage !== 'none') return null;
      const color = rgba(style.backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] > 0.99) break;
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255, 1] as Rgba);
  }
  function contrast(element: Element): number | null {
    const on = ground(element);
    if (!on) return null;
    const style = styleOf(element);
    const color = rgba(element instanceof SVGElement ? style.fill : style.color);
    const opacity = [...up(element)].reduce((all, at) => all * Number(styleOf(at).opacity), color[3]);
    const [a, b] = [light(over([color[0], color[1], color[2], opacity], on)), light(on)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  const nameOf = (element: Element) =>
    [...up(element)]
      .slice(0, 3)
      .map(
        (at) => at.tagName.toLowerCase() + (at.classList.length ? `.${[...at.classList].slice(0, 2).join('.')}` : ''),
      )
      .reverse()
      .join(' ');
  const width = (box: Box) => box.right - box.left;
  const height = (box: Box) => box.bottom - box.top;
  const both = (a: Box, b: Box): Box => ({
    left: Math.max(a.left, b.left),
    top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right),
    bottom: Math.min(a.bottom, b.bottom),
  });
  const page: Box = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };

  /** What can cut off what is in it. */
  interface Edge {
    box: Box;
    scrolls: { x: boolean; y: boolean };
    /** Whether a text that is too long ends with an ellipsis, or after some lines. */
    short: boolean;
    clamped: boolean;
  }
  const edges = new Map<Element, Edge[]>();
  /** The edges around an element, its own first. */
  function edgesOf(element: Element | null): Edge[] {
    if (!element) return [];
    let all = edges.get(element);
    if (all) return all;
    const { position, overflowX, overflowY, textOverflow, webkitLineClamp } = styleOf(element);
    if (position === 'fixed' || element.matches('dialog, [popover]')) all = [];
    else {
      all = edgesOf(element.parentElement);
      if (overflowX !== 'visible' || overflowY !== 'visible') {
        const can = (overflow: string) => /auto|scroll/.test(overflow);
        const clamped = webkitLineClamp !== 'none';
        const own: Edge = {
          box: element.getBoundingClientRect(),
          scrolls: { x: can(overflowX), y: can(overflowY) },
          short: textOverflow === 'ellipsis' || clamped,
          clamped,
        };
        all = [own, ...all];
      }
    }
    edges.set(element, all);
    return all;
  }

  /** What is to be seen of a box, and whether something cuts it off that cannot be scrolled. */
  function clipped(element: Element, box: Box): { box: Box; cut: boolean } {
    let seen = box;
    let scrolls = { x: false, y: false };
    let cut = false;
    for (const edge of edgesOf(element)) {
      const next = both(seen, edge.box);
      const lost = { x: width(seen) - Math.max(0, width(next)), y: height(seen) - Math.max(0, height(next)) };
      scrolls = { x: scrolls.x || edge.scrolls.x, y: scrolls.y || edge.scrolls.y };
      if (lost.x > OVER && !scrolls.x && !(edge.short && width(next) >= READABLE)) cut = true;
      if (lost.y > height(box) / 3 && !scrolls.y && !edge.clamped) cut = true;
      seen = next;
    }
    const next = both(seen, page);
    if (width(seen) > 0 && height(seen) > 0) {
      if (width(seen) - Math.max(0, width(next)) > OVER && !scrolls.x) cut = true;
      if (height(seen) - Math.max(0, height(next)) > height(box) / 3 && !scrolls.y) cut = true;
    }
    return { box: next, cut };
  }
  /** Whether it is on the top where it is, and not under something else. */
  function isOnTop(element: Element, box: Box): boolean {
    const top = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
    return top !== null && (top.contains(element) || element.contains(top));
  }
  const isHidden = (element: Element) =>
    !element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) ||
    element.closest('.visually-hidden, .katex, [inert]') !== null;

  const texts: Seen[] = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const of = node.parentElement;
    const text = node.textContent?.trim() ?? '';
    if (!of || !text || of.closest('script, style, option, noscript') || isHidden(of)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      if (rect.width < 1 || rect.height < 1) continue;
      const { box, cut } = clipped(of, rect);
      if (cut) found.add(`cut off: “${text.slice(0, 40)}” in ${nameOf(of)}`);
      if (width(box) < 2 || height(box) < 4 || !isOnTop(of, box)) continue;
      texts.push({ text, of, box });
    }
  }
  for (const { text, of } of texts) {
    const is = contrast(of);
    if (is !== null && is < LEAST) found.add(`contrast ${is.toFixed(2)}: “${text.slice(0, 40)}” in ${nameOf(of)}`);
  }
  for (const field of document.querySelectorAll('input, select')) {
    if (isHidden(field) || field.matches('[type="checkbox"], [type="range"], [type="radio"]')) continue;
    const is = contrast(field);
    if (is !== null && is < LEAST) found.add(`contrast ${is.toFixed(2)}: ${nameOf(field)}`);
  }
  for (const element of document.querySelectorAll('button, input, select, a.button')) {
    if (isHidden(element)) continue;
    if (clipped(element.parentElement!, element.getBoundingClientRect()).cut)
      found.add(`cut off: ${nameOf(element)} “${element.textContent?.trim().slice(0, 30)}”`);
  }
  // Letters are lower than their lines, which may touch.
  const inner = ({ left, top, right, bottom }: Box): Box => {
    const by = (bottom - top) * 0.22;
    return { left: left + 1, top: top + by, right: right - 1, bottom: bottom - by };
  };
  texts.sort((a, b) => a.box.top - b.box.top);
  texts.forEach((a, i) => {
    for (let j = i + 1; j < texts.length && texts[j].box.top < a.box.bottom; j++) {
      const b = texts[j];
      if (a.of === b.of && a.text === b.text) continue;
      const shared = both(inner(a.box), inner(b.box));
      if (width(shared) > OVER && height(shared) > OVER) {
        found.add(
          `on each other: “${a.text.slice(0, 30)}” in ${nameOf(a.of)} and “${b.text.slice(0, 30)}” in ${nameOf(b.of)}`,
        );
      }
    }
  });
  if (document.documentElement.scrollWidth > innerWidth) found.add('the page is wider than the window');
  return [...found];
}

declare global {
  interface Window {
    ggscopePlaces?: Map<Node, string>;
  }
}

/** Runs in the page: what is no longer where it was when this ran before; for that, remembers where everything is now,
 * elements and texts. It may use nothing from outside of itself. */
export function moved(): string[] {
  const places = new Map<Node, string>();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    range.selectNodeContents(node);
    const { x, y, width, height } = (node instanceof Element ? node : range).getBoundingClientRect();
    places.set(node, [x, y, width, height].map(Math.round).join(' '));
  }
  const before = window.ggscopePlaces;
  window.ggscopePlaces = places;
  const nameOf = (node: Node): string =>
    node instanceof Element
      ? `${node.tagName.toLowerCase()}.${[...node.classList].join('.')}`
      : `“${node.textContent?.trim().slice(0, 30)}” in ${node.parentElement ? nameOf(node.parentElement) : 'nothing'}`;
  const found: string[] = [];
  for (const [node, place] of places) {
    const was = before?.get(node);
    if (before && was !== place) found.push(`${nameOf(node)}: from ${was ?? 'nowhere'} to ${place}`);
    before?.delete(node);
  }
  for (const [node, was] of before ?? []) found.push(`${nameOf(node)}: from ${was} to nowhere`);
  return found;
}
