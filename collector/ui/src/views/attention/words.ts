// Words for numbers of attention, the same in tooltips, tables and for those who hear the page.
import { shownText } from '../../lib/shownText';
import { UNSEEN } from './matrix';

/** A token with its number: `12 “␣keys”`. */
export function tokenName(token: { token: number | null; cell?: number | null; text: string | null }): string {
  const number = token.token === null ? (token.cell == null ? '' : `cell ${token.cell}`) : String(token.token);
  return token.text === null ? number || 'unknown' : `${number} “${shownText(token.token, token.text)}”`;
}

/** A weight as a part of one, and what it is if it is none. */
export function weightText(weight: number | null): string {
  if (weight === null || Number.isNaN(weight)) return 'NaN';
  if (weight === UNSEEN) return 'not seen';
  return weight.toFixed(4);
}

/** A number of a stage; null is NaN, as JSON has no infinities either. */
export function stageText(value: number | null | undefined): string {
  if (value === null || value === undefined) return 'NaN or ∞';
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toExponential(2) : value.toFixed(3);
}
