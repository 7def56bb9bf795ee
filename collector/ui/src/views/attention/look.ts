// How the view is set, in the words that the address has for it: only what is not as it is at first.

/** What the middle of the view is. */
export const MODES = ['rows', 'space', 'against'] as const;
/** Which links the picture in space has. */
export const SPACES = ['flow', 'fan', 'all'] as const;
export const PANES = ['text', 'stages', 'vectors', 'lines'] as const;
export const PAINTS = ['entropy', 'first', 'previous', 'self', 'heaviest'] as const;
export const SCALES = ['root', 'linear'] as const;
/** Tokens in the heatmap. */
export const SPANS = [128, 32, 64, 256, 512, 1024] as const;

export interface Look {
  mode: (typeof MODES)[number];
  space: (typeof SPACES)[number];
  /** Links of the selected head alone. */
  alone: boolean;
  /** And those to the first token, where heads rest. */
  sink: boolean;
  /** What is beside the heatmap. */
  pane: (typeof PANES)[number];
  /** What colours say in the map of all heads. */
  paint: (typeof PAINTS)[number];
  /** How weights become colours. */
  scale: (typeof SCALES)[number];
  span: (typeof SPANS)[number];
  /** Lines of all heads, not of the selected one. */
  every: boolean;
  /** Lines of all tokens, not of the selected one. */
  whole: boolean;
}

export function parseLook(text: string | null): Look {
  const words = (text ?? '').split(' ');
  const one = <T extends string | number>(of: readonly T[]) => of.find((word) => words.includes(String(word))) ?? of[0];
  return {
    mode: one(MODES),
    space: one(SPACES),
    alone: words.includes('alone'),
    sink: words.includes('sink'),
    pane: one(PANES),
    paint: one(PAINTS),
    scale: one(SCALES),
    span: one(SPANS),
    every: words.includes('every'),
    whole: words.includes('whole'),
  };
}

export function formatLook(look: Look): string | null {
  const words: (string | number)[] = [];
  const put = <T extends string | number>(of: readonly T[], value: T) => value !== of[0] && words.push(value);
  put(MODES, look.mode);
  put(SPACES, look.space);
  put(PANES, look.pane);
  put(PAINTS, look.paint);
  put(SCALES, look.scale);
  put(SPANS, look.span);
  if (look.every) words.push('every');
  if (look.whole) words.push('whole');
  if (look.alone) words.push('alone');
  if (look.sink) words.push('sink');
  return words.join(' ') || null;
}
