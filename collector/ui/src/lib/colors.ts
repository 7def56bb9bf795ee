// Colours of kinds of operators: of Paul Tol's palettes, which people with any kind of colour blindness can tell apart.

const PALETTE = [
  '#88ccee',
  '#cc6677',
  '#ddcc77',
  '#44aa99',
  '#aa4499',
  '#999933',
  '#6699cc',
  '#ee8866',
  '#bbcc33',
  '#ffaabb',
  '#77aadd',
  '#aaaa00',
];

const COMMON: Record<string, string> = {
  MUL_MAT: '#6699cc',
  MUL_MAT_ID: '#4477aa',
  FLASH_ATTN_EXT: '#ee8866',
  SOFT_MAX: '#ee8866',
  RMS_NORM: '#44aa99',
  MUL: '#88ccee',
  ADD: '#ddcc77',
  ROPE: '#aa4499',
  SWIGLU: '#bbcc33',
  GLU: '#bbcc33',
  SET_ROWS: '#cc6677',
  GET_ROWS: '#ffaabb',
  CPY: '#999933',
  CONT: '#aaaa00',
};

/** The colour of a kind of operator, the same everywhere. */
export function opColor(op: string): string {
  const known = COMMON[op];
  if (known) return known;
  let hash = 0;
  for (const c of op) hash = (hash * 31 + c.charCodeAt(0)) >>> 0;
  return PALETTE[hash % PALETTE.length];
}

/** Black or white: what can be read best on a colour, `#rrggbb` or `rgb(…)`. One of them always has 4.5 : 1. */
export function inkOn(color: string): '#000000' | '#ffffff' {
  const parts = color.startsWith('#')
    ? [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16))
    : (color.match(/[\d.]+/g) ?? ['0', '0', '0']).slice(0, 3).map(Number);
  const [r, g, b] = parts.map((part) => {
    const x = part / 255;
    return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return (light + 0.05) / 0.05 > 1.05 / (light + 0.05) ? '#000000' : '#ffffff';
}

/** A colour of the page's theme, for a canvas: `--accent`. */
export function themeColor(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Viridis at 0..1, as `[r, g, b]` of 0..255: ordered for every eye, in print too. */
export function viridis(x: number): [number, number, number] {
  const stops: [number, number, number][] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 74, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [109, 205, 89],
    [180, 222, 44],
    [253, 231, 37],
  ];
  const at = Math.min(1, Math.max(0, x)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at));
  const f = at - i;
  return [0, 1, 2].map((c) => Math.round(stops[i][c] + f * (stops[i + 1][c] - stops[i][c]))) as [
    number,
    number,
    number,
  ];
}
