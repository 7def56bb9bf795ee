// Axes whose ends and steps are round.
import { round } from '../analytics/barOptions';

/** An axis of bytes whose end and steps are round in the unit of its end. */
export function byteAxis(max: number, steps = 4): { max: number; interval: number } {
  const unit = 1024 ** Math.max(0, Math.floor(Math.log2(Math.max(1, max)) / 10));
  const axis = round(max / unit, steps);
  return { max: axis.max * unit, interval: axis.interval * unit };
}
