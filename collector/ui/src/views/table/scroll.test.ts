import { describe, expect, it } from 'vitest';
import { MAX_HEIGHT, Scale } from './scroll';

describe('the scroll bar of a long list', () => {
  const rows = 10_000_000;
  const huge = new Scale(rows * 24, 600);

  it('is exact while the browser can have the element as high as the list', () => {
    const small = new Scale(5000, 600);
    expect([small.height, small.squeezed, small.lastTop]).toEqual([5000, false, 4400]);
    expect([small.toTop(1234), small.toDom(1234), small.scrolled(0, 0, 4000)]).toEqual([1234, 1234, 4000]);
    expect([small.toTop(-5), small.toTop(9999)]).toEqual([0, 4400]);
  });

  it('shows the whole of a list that fits without moving', () => {
    const short = new Scale(100, 600);
    expect([short.lastTop, short.toTop(50), short.toDom(50)]).toEqual([0, 0, 0]);
  });

  it('reaches the first and the last of ten million rows and never exceeds the limit', () => {
    expect(huge.height).toBe(MAX_HEIGHT);
    expect(huge.toTop(0)).toBe(0);
    expect(huge.toTop(huge.lastDom)).toBe(rows * 24 - 600);
    expect(huge.toDom(rows * 24)).toBe(huge.lastDom);
  });

  it('goes forth and back without losing the place, and always forward', () => {
    let before = -1;
    for (let top = 0; top <= huge.lastTop; top += huge.lastTop / 997) {
      const dom = huge.toDom(top);
      expect(huge.toTop(dom)).toBeCloseTo(top, 4);
      expect(dom).toBeGreaterThan(before);
      before = dom;
    }
  });

  it('moves by pixels under the wheel and in proportion when the bar is dragged', () => {
    const middle = 120_000_000;
    const dom = huge.toDom(middle);
    expect(huge.scrolled(middle, dom, dom + 100)).toBe(middle + 100);
    expect(huge.scrolled(middle, dom, dom - 1200)).toBe(middle - 1200);
    expect(huge.scrolled(middle, dom, dom + 20_000)).toBeCloseTo(huge.toTop(dom + 20_000), 4);
    expect(huge.scrolled(50, 50, 0)).toBe(0);
    expect(huge.scrolled(huge.lastTop - 10, huge.lastDom - 10, huge.lastDom)).toBe(huge.lastTop);
  });
});
