// Numbers as people read them.
import type { Phase } from './types';

const NS: [number, string][] = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
];

/** Nanoseconds with the unit that fits: `1.23 ms`. */
export function time(ns: number | null | undefined): string {
  if (ns === null || ns === undefined || Number.isNaN(ns)) return '–';
  if (ns === 0) return '0';
  const [unit, name] = NS.find(([unit]) => Math.abs(ns) >= unit) ?? NS[3];
  return `${digits(ns / unit)} ${name}`;
}

/** Bytes with the binary unit that fits: `12.3 MiB`. */
export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined || Number.isNaN(n)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  let value = n;
  while (Math.abs(value) >= 1024 && i < units.length - 1) {
    value /= 1024;
    i++;
  }
  return `${i === 0 ? String(value) : digits(value)} ${units[i]}`;
}

/** A phase as it is shown: `PROMPT`, `GENERATE` or `unknown`. */
export function phaseText(phase: Phase | null): string {
  return phase ?? 'unknown';
}

/** Three significant digits. */
export function digits(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** An integer with thin separators: `139,392`. */
export function count(n: number | null | undefined): string {
  return n === null || n === undefined ? '–' : n.toLocaleString('en-US');
}

/** A part of one: `12.3 %`. */
export function percent(part: number): string {
  return Number.isFinite(part) ? `${(100 * part).toFixed(1)} %` : '–';
}

/** A shape without its trailing ones: `576 × 49152`. */
export function shape(ne: readonly number[]): string {
  let end = ne.length;
  while (end > 1 && ne[end - 1] === 1) end--;
  return ne.slice(0, end).join(' × ');
}

/** An offset or address: `0x1ac00`. */
export function hex(n: number | null | undefined): string {
  return n === null || n === undefined ? '–' : `0x${n.toString(16)}`;
}

/** A token's text with its whitespace made visible. */
export function tokenText(text: string | null | undefined): string {
  if (text === null || text === undefined) return '';
  return text.replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/ /g, '␣');
}

/** Why operators have no times, and what to do, for a session of that level; null if they have. */
export function untimedText(level: string | undefined, whose = 'no operator times'): string | null {
  return level === 'graph' ? `${whose}: it was recorded with --level graph; record with --level ops` : null;
}

/** `1 time`, `2 times`. */
export function times(n: number): string {
  return `${count(n)} time${n === 1 ? '' : 's'}`;
}

/** The last part of a path. */
export function fileName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
