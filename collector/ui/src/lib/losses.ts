// Why records were lost, in words: only causes that the recording knows.

/** Records by cause. */
export interface Losses {
  full: number;
  no_ring: number;
  senseless: number;
}

/** What was the matter, and what helps. Empty if the recording does not say. */
export function lossText(causes: Losses | null | undefined): string {
  if (!causes) return '';
  const said = [
    causes.full > 0 &&
      'The ring was full: the program was faster than the collector and did not wait for it. A larger --ring-size loses fewer.',
    causes.no_ring > 0 &&
      'More threads computed at once than there are rings: rings of another size would not have helped.',
    causes.senseless > 0 && 'Records did not decode or contradicted themselves.',
  ];
  return said.filter(Boolean).join(' ');
}
