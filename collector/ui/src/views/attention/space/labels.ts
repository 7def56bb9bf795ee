// Where a name is written in a picture: within it, and not over another one.

/** A name, around its middle. */
export interface Label {
  x: number;
  y: number;
  /** Half of its width. */
  half: number;
  height: number;
}

/** So many lines away from where it belongs a name is still understood. */
const FAR = 4;

/** Where a name goes that is wanted at a place; null if there is no room. `must`: one that has to be somewhere moves up or
 * down for it. */
export function place(
  wanted: Label,
  others: readonly Label[],
  size: { width: number; height: number },
  must: boolean,
): { x: number; y: number } | null {
  const { half, height } = wanted;
  const within = (at: number, room: number, end: number) => Math.max(room, Math.min(end - room, at));
  const x = within(wanted.x, half, size.width);
  const free = (y: number) =>
    others.every((one) => Math.abs(one.x - x) >= one.half + half || Math.abs(one.y - y) >= (one.height + height) / 2);
  for (let away = 0; away <= (must ? FAR : 0); away++) {
    for (const side of away === 0 ? [0] : [-1, 1]) {
      const y = within(wanted.y + side * away * height, height / 2 + 2, size.height);
      if (free(y)) return { x, y };
    }
  }
  return must ? { x, y: within(wanted.y, height / 2 + 2, size.height) } : null;
}
