// Where the lanes of the timeline are, from top to bottom, in a panel of any height.

export interface Lane {
  y: number;
  h: number;
}

export interface Layout {
  width: number;
  height: number;
  /** Names of the lanes are left of this. */
  left: number;
  /** Pixels from `left` to the right border. */
  inner: number;
  overview: Lane;
  ruler: Lane;
  rows: Lane[];
  /** Layers, blocks, operators of the tokens that are wide enough. Without height while it is closed. */
  flame: { layers: Lane; blocks: Lane; operators: Lane; whole: Lane };
  times: Lane;
  minor: Lane;
  major: Lane;
}

const LEFT = 84;
const GAP = 3;

const between = (least: number, value: number, most: number) => Math.min(most, Math.max(least, value));

/** `open` says how far the flame is open, 0..1. */
export function layout(width: number, height: number, rows: number, open: number): Layout {
  let y = 2;
  const lane = (h: number, gap = GAP): Lane => {
    const at = { y, h: Math.max(0, Math.floor(h)) };
    y += at.h + gap;
    return at;
  };
  const overview = lane(between(20, height * 0.13, 44), 1);
  const ruler = lane(16, 1);
  const rest = Math.max(60, height - y - 4 * GAP - 3);
  const rowHeight = rows > 0 ? between(7, Math.min(rest * 0.18, (rest * 0.4) / rows), 32) : 0;
  const rowLanes = Array.from({ length: rows }, (_, i) => lane(rowHeight, i < rows - 1 ? 1 : GAP));
  const flameHeight = between(44, (rest - rows * rowHeight) * 0.58, 200) * open;
  const top = y;
  const layers = lane(flameHeight * 0.28, 0);
  const blocks = lane(flameHeight * 0.28, 0);
  const operators = lane(flameHeight * 0.44, 0);
  const whole = { y: top, h: y - top };
  y += open > 0 ? GAP : 0;
  const faults = Math.floor(between(10, rest * 0.09, 20));
  const times = lane(Math.max(8, height - y - 2 * (faults + 1) - GAP - 2));
  const minor = lane(faults, 1);
  const major = lane(faults, 0);
  return {
    ...{ width, height, left: LEFT, inner: Math.max(1, width - LEFT - 1) },
    ...{ overview, ruler, rows: rowLanes, flame: { layers, blocks, operators, whole }, times, minor, major },
  };
}

export function inLane({ y, h }: Lane, at: number): boolean {
  return at >= y && at < y + h;
}
