// Where a list stands that may be taller than a browser lets an element be (17 million pixels in Firefox, 33 in
// Chromium). Up to a limit a pixel is a pixel. Above it the middle of the scroll bar is squeezed: dragging it goes in
// proportion, while wheel and touch still move by pixels, and the first and last screens are exact.

/** Pixels that every browser allows an element to be high, with room to spare. */
export const MAX_HEIGHT = 8_000_000;
/** Pixels at both ends that are never squeezed. */
const EXACT = 200_000;

const clamp = (n: number, most: number) => Math.min(Math.max(0, n), Math.max(0, most));

export class Scale {
  /** Height of the element that scrolls. */
  readonly height: number;
  /** The last position in the list, and the last one of the scroll bar. */
  readonly lastTop: number;
  readonly lastDom: number;

  constructor(
    readonly content: number,
    readonly view: number,
    readonly max = MAX_HEIGHT,
    private readonly exact = EXACT,
  ) {
    this.height = Math.min(content, max);
    this.lastTop = Math.max(0, content - view);
    this.lastDom = Math.max(0, this.height - view);
  }

  get squeezed(): boolean {
    return this.content > this.max;
  }

  /** Position in the list where the scroll bar is at `dom`. */
  toTop(dom: number): number {
    const at = clamp(dom, this.lastDom);
    if (!this.squeezed || at <= this.exact) return at;
    if (at >= this.lastDom - this.exact) return this.lastTop - (this.lastDom - at);
    const part = (at - this.exact) / (this.lastDom - 2 * this.exact);
    return this.exact + part * (this.lastTop - 2 * this.exact);
  }

  /** Where the scroll bar is for a position in the list. */
  toDom(top: number): number {
    const at = clamp(top, this.lastTop);
    if (!this.squeezed || at <= this.exact) return at;
    if (at >= this.lastTop - this.exact) return this.lastDom - (this.lastTop - at);
    const part = (at - this.exact) / (this.lastTop - 2 * this.exact);
    return this.exact + part * (this.lastDom - 2 * this.exact);
  }

  /**
   * Position in the list after the scroll bar went from `from` to `to`, having been at `top`. What is less than two
   * screens is a wheel or a finger and moves by pixels: on a bar that is squeezed no drag is that short.
   */
  scrolled(top: number, from: number, to: number): number {
    if (!this.squeezed) return this.toTop(to);
    const by = to - from;
    return Math.abs(by) <= 2 * this.view ? clamp(top + by, this.lastTop) : this.toTop(to);
  }
}
