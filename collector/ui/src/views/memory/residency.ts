// Pages of a file: which are in memory now, beside which were ever read.

/** Bytes from..to of a file. */
export type Part = [from: number, to: number];

export const READ = 1;
export const RESIDENT = 2;

/** A part of a file in one state: READ, RESIDENT or both. */
export interface State {
  from: number;
  to: number;
  state: number;
}

/** Whole pages that hold these bytes, which come in the order of the file; neighbours are one. */
export function pagesOf(parts: Iterable<Part>, page: number, size: number): Part[] {
  const found: Part[] = [];
  for (const [from, to] of parts) {
    if (to <= from) continue;
    const first = Math.floor(from / page) * page;
    const end = Math.min(size, Math.ceil(to / page) * page);
    const last = found.at(-1);
    if (last && first <= last[1]) last[1] = Math.max(last[1], end);
    else found.push([first, end]);
  }
  return found;
}

/** Two lists of parts, each in the order of the file, as one list of states. */
export function states(read: Part[], resident: Part[]): State[] {
  const cuts: [at: number, flag: number][] = [];
  for (const [list, flag] of [
    [read, READ],
    [resident, RESIDENT],
  ] as const) {
    for (const [from, to] of list) cuts.push([from, flag], [to, -flag]);
  }
  cuts.sort((a, b) => a[0] - b[0]);
  const found: State[] = [];
  const open = [0, 0, 0];
  let before = 0;
  for (const [at, flag] of cuts) {
    const state = (open[READ] ? READ : 0) | (open[RESIDENT] ? RESIDENT : 0);
    if (state && at > before) {
      const last = found.at(-1);
      if (last && last.to === before && last.state === state) last.to = at;
      else found.push({ from: before, to: at, state });
    }
    open[Math.abs(flag)] += Math.sign(flag);
    before = at;
  }
  return found;
}

export interface Totals {
  size: number;
  resident: number;
  /** In memory, and never read. */
  wasted: number;
  /** Read, and not in memory. */
  cold: number;
  both: number;
}

export function totals(states: State[], size: number): Totals {
  const sum = (state: number) => states.reduce((n, s) => n + (s.state === state ? s.to - s.from : 0), 0);
  const [cold, wasted, both] = [sum(READ), sum(RESIDENT), sum(READ | RESIDENT)];
  return { size, resident: wasted + both, wasted, cold, both };
}

/** For each column of pixels the states that it has: 1 << state. */
export function stateColumns(states: State[], from: number, bytes: number, width: number): Uint8Array {
  const columns = new Uint8Array(width);
  const scale = width / bytes;
  let [low, high] = [0, states.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (states[middle].to > from) high = middle;
    else low = middle + 1;
  }
  for (let i = low; i < states.length; i++) {
    const first = Math.floor((states[i].from - from) * scale);
    if (first >= width) break;
    const end = Math.min(width, Math.max(first + 1, Math.ceil((states[i].to - from) * scale)));
    for (let column = Math.max(0, first); column < end; column++) columns[column] |= 1 << states[i].state;
  }
  return columns;
}
