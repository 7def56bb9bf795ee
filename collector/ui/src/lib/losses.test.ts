import { describe, expect, it } from 'vitest';
import { lossText } from './losses';

describe('lost records', () => {
  it('are helped by room only where there was too little of it', () => {
    expect(lossText({ full: 2, no_ring: 0, senseless: 0 })).toContain('--ring-size');
    expect(lossText({ full: 0, no_ring: 1, senseless: 0 })).toBe(
      'More threads computed at once than there are rings: rings of another size would not have helped.',
    );
    expect(lossText({ full: 0, no_ring: 0, senseless: 3 })).not.toContain('ring');
    expect(lossText({ full: 1, no_ring: 1, senseless: 0 })).toMatch(/full.*More threads/);
    expect(lossText(null)).toBe('');
  });
});
