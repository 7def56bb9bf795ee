// How the view of experts is set, as it stands in the address: `generate layer expert:3`.

export const PHASES = ['all', 'prompt', 'generate'] as const;
export const PAIRS = ['together', 'layer', 'token'] as const;

export interface Settings {
  /** Whose choices are counted. */
  phase: (typeof PHASES)[number];
  /** Which experts are put beside which: of one token, of the layer before and this, of the token before and this. */
  pairs: (typeof PAIRS)[number];
  /** The expert that is pointed out in all pictures. */
  expert: number | null;
}

/** Reads an address; what makes no sense is left as it is without one. */
export function parseSettings(text: string | null): Settings {
  const words = (text ?? '').split(' ');
  const expert = words.map((word) => /^expert:(\d{1,4})$/.exec(word)?.[1]).find((id) => id !== undefined);
  return {
    phase: PHASES.find((phase) => words.includes(phase)) ?? 'all',
    pairs: PAIRS.find((pairs) => words.includes(pairs)) ?? 'together',
    expert: expert === undefined ? null : Number(expert),
  };
}

/** Null for what is there without an address. */
export function formatSettings({ phase, pairs, expert }: Settings): string | null {
  const words = [
    ...(phase === 'all' ? [] : [phase]),
    ...(pairs === 'together' ? [] : [pairs]),
    ...(expert === null ? [] : [`expert:${expert}`]),
  ];
  return words.length ? words.join(' ') : null;
}
