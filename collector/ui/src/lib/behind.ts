// In words, how far a picture is behind the newest token of a run that goes on.

export interface Behindness {
  /** Tokens that the picture is behind those that it is to show; null if it shows none. */
  tokens: number | null;
  kind: 'current' | 'late' | 'past';
  text: string;
  title: string;
}

const tokens = (n: number) => `${n.toLocaleString('en-US')} token${n === 1 ? '' : 's'}`;

/** `newest` of the run, `shown` by the picture, which is to go up to `until` if that is not the newest. */
export function behindText(newest: number, shown: number | null, until: number | null = null): Behindness {
  const wanted = until === null ? newest : Math.min(until, newest);
  if (shown === null)
    return {
      tokens: null,
      kind: 'late',
      text: 'nothing yet',
      title: `The newest token is ${newest}; none is shown yet.`,
    };
  const behind = Math.max(0, wanted - shown);
  const title = `Shown up to token ${shown}; the newest is ${newest}.`;
  if (behind > 0) return { tokens: behind, kind: 'late', text: `${tokens(behind)} behind`, title };
  if (wanted < newest) return { tokens: 0, kind: 'past', text: `${tokens(newest - wanted)} before the newest`, title };
  return { tokens: 0, kind: 'current', text: 'up to date', title };
}
