// What the trace table shows: the part of its filter that is the page's selection, and the part that is its own.
//
// A field that the selection has too (tokens, layer, op, tensor, node) follows it, with one exception: a row that is
// chosen in the table changes the selection, and that must not narrow the table. So the table then writes down, beside
// its own filters in the address, "while the selection says W, this field is V" (a pin). Whoever changes the selection
// to something else, in any view or in the filter bar, lets the field follow again. With `hold` it follows nothing.
import { rangeText, type Selected } from '../../lib/selection.svelte';

/** Fields that follow the selection. */
export const FOLLOWED = ['tokens', 'layer', 'op', 'tensor', 'node'] as const;
export type Followed = (typeof FOLLOWED)[number];
/** Fields that only the table has. */
export const OWN = ['phase', 'name', 'source', 'duration'] as const;
export type OwnField = (typeof OWN)[number];
export type Field = Followed | OwnField;

/** What a field is while the selection says `while`; null: whatever it says. Empty is nothing. */
export interface Pin {
  value: string;
  while: string | null;
}

/** The table's part of the filter. */
export interface Own extends Record<OwnField, string> {
  /** Only rows of the selected node, and not those that read it. */
  only: boolean;
  /** Follows no selection. */
  hold: boolean;
  pins: Partial<Record<Followed, Pin>>;
}

export type Chosen = Pick<Selected, Followed>;
type Texts = Record<Followed, string>;

const includes = <T extends string>(list: readonly T[], word: string): word is T =>
  (list as readonly string[]).includes(word);
const encode = (text: string) => text.replace(/[%\s:>]/g, encodeURIComponent);
const decode = (text: string) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** Reads what the address says: `phase:prompt name:ffn* tokens:5>1..9`. What makes no sense is passed over. */
export function parseOwn(text: string | null): Own {
  const own: Own = { phase: '', name: '', source: '', duration: '', only: false, hold: false, pins: {} };
  for (const word of (text ?? '').split(/\s+/)) {
    const [key, rest] = word.split(/:(.*)/s);
    if (word === 'only') own.only = true;
    else if (word === 'hold') own.hold = true;
    else if (rest === undefined) continue;
    else if (includes(OWN, key)) own[key] = decode(rest);
    else if (includes(FOLLOWED, key)) {
      const [first, second] = rest.split('>');
      own.pins[key] =
        second === undefined ? { value: decode(first), while: null } : { value: decode(second), while: decode(first) };
    }
  }
  return own;
}

/** The same for the address; null if there is nothing to say. */
export function formatOwn(own: Own): string | null {
  const words: string[] = OWN.filter((field) => own[field] !== '').map((field) => `${field}:${encode(own[field])}`);
  if (own.only) words.push('only');
  if (own.hold) words.push('hold');
  for (const field of FOLLOWED) {
    const pin = own.pins[field];
    if (pin) words.push(`${field}:${pin.while === null ? '' : `${encode(pin.while)}>`}${encode(pin.value)}`);
  }
  return words.join(' ') || null;
}

/** What a field of the selection says as text. */
const textOf = (value: Chosen[Followed]) =>
  value === null ? '' : Array.isArray(value) ? rangeText(value) : String(value);

/** The selection as the texts of fields. */
function texts(s: Chosen): Texts {
  return {
    tokens: textOf(s.tokens),
    layer: textOf(s.layer),
    op: textOf(s.op),
    tensor: textOf(s.tensor),
    node: textOf(s.node),
  };
}

const holds = (pin: Pin | undefined, selected: string): pin is Pin =>
  pin !== undefined && (pin.while === null || pin.while === selected);

/** What every field says. */
export function fields(own: Own, s: Chosen): Record<Field, string> {
  const selected = texts(s);
  const followed = FOLLOWED.map((field) => {
    const pin = own.pins[field];
    return [field, holds(pin, selected[field]) ? pin.value : own.hold ? '' : selected[field]];
  });
  return { ...Object.fromEntries(followed), ...Object.fromEntries(OWN.map((field) => [field, own[field]])) };
}

/** Whether some of the selection is not what the table filters by, because it was made in the table. */
export function apart(own: Own, s: Chosen): boolean {
  const [shown, selected] = [fields(own, s), texts(s)];
  const of: Followed[] = own.only ? [...FOLLOWED] : ['tokens', 'layer', 'op', 'tensor'];
  return !own.hold && of.some((field) => selected[field] !== '' && shown[field] !== selected[field]);
}

/** The table's part after it has itself changed the selection: every field goes on saying what it says. */
export function pinned(own: Own, before: Chosen, change: Partial<Chosen>): Own {
  if (own.hold) return own;
  const [shown, after] = [fields(own, before), texts(before)];
  for (const field of FOLLOWED) if (field in change) after[field] = textOf(change[field] ?? null);
  const pins: Own['pins'] = {};
  for (const field of FOLLOWED) {
    if (shown[field] !== after[field]) pins[field] = { value: shown[field], while: after[field] };
  }
  return { ...own, pins };
}

/** The table's part when it begins to follow no selection, or to follow it again. */
export function held(own: Own, s: Chosen, hold: boolean): Own {
  if (!hold) return { ...own, hold, pins: {} };
  const shown = fields(own, s);
  const given = FOLLOWED.filter((field) => shown[field] !== '');
  return { ...own, hold, pins: Object.fromEntries(given.map((f) => [f, { value: shown[f], while: null }])) };
}

/** What a text says as a value of the selection; undefined if the selection cannot say it. */
function asSelected(field: Followed, text: string, last: number | null): Partial<Chosen> | undefined {
  if (text === '') return { [field]: null };
  const range = /^(\d{1,15})?(\.\.=?)?(\d{1,15})?$/.exec(text);
  if (field === 'tokens') {
    if (!range || (range[1] === undefined && range[3] === undefined)) return undefined;
    const first = Number(range[1] ?? 0);
    const end = range[3] !== undefined ? Number(range[3]) : range[2] === undefined ? first : last;
    return end === null || end < first ? undefined : { tokens: [first, end] };
  }
  if (field === 'layer' || field === 'node') return /^\d{1,9}$/.test(text) ? { [field]: Number(text) } : undefined;
  if (field === 'op') return /[*?[{]/.test(text) ? undefined : { op: text.toUpperCase() };
  return { tensor: text };
}

/**
 * A field was given a text: the table's part from now on, and what changes of the selection. What the selection cannot
 * say (`3..5` as a layer, a glob, nonsense) the table keeps to itself until the selection's field changes. `last`: the
 * last token, if there will be no more.
 */
export function edited(
  own: Own,
  s: Chosen,
  field: Field,
  text: string,
  last: number | null,
): { own: Own; change: Partial<Chosen> } {
  if (includes(OWN, field)) return { own: { ...own, [field]: text }, change: {} };
  const { [field]: _, ...pins } = own.pins;
  if (own.hold)
    return { own: { ...own, pins: text ? { ...pins, [field]: { value: text, while: null } } : pins }, change: {} };
  const change = asSelected(field, text, last);
  if (change) return { own: { ...own, pins }, change };
  return { own: { ...own, pins: { ...pins, [field]: { value: text, while: texts(s)[field] } } }, change: {} };
}

const UNITS: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9 };

/** `1ms..`, `10us..2ms`, `>1 ms`, `1ms` (at least) in nanoseconds for the server; another text as it is. */
export function durations(text: string): string {
  const plain = text.replace(/\s+/g, '').toLowerCase();
  const match = /^([<>]?)=?([\d.]*?)([nuµμm]?s)?(?:(\.\.)=?([\d.]*?)([nuµμm]?s)?)?$/.exec(plain);
  if (!match) return text;
  const [, sign, low, lowUnit, dots, high, highUnit] = match;
  const ns = (number: string | undefined, unit: string | undefined) =>
    number ? Math.round(Number(number) * UNITS[unit ?? 'ns']) : null;
  const first = ns(low, lowUnit ?? highUnit);
  const last = ns(high, highUnit ?? lowUnit);
  if ((first === null && last === null) || Number.isNaN(first) || Number.isNaN(last)) return text;
  if (sign && dots) return text;
  return sign === '<' ? `..${first}` : `${first ?? ''}..${last ?? ''}`;
}

/** Nanoseconds in the largest unit that has at most three decimals. */
function exact(ns: number): string {
  const [unit, factor] = (
    [
      ['s', 1e9],
      ['ms', 1e6],
      ['µs', 1e3],
    ] as const
  ).find(([, factor]) => ns > 0 && ns % (factor / 1000) === 0 && ns >= factor) ?? ['ns', 1];
  return `${ns / factor} ${unit}`;
}

/** A duration as it is understood: `5us` is `5 µs..`; what is not understood stays. */
export function durationText(text: string): string {
  const match = /^(\d*)\.\.(\d*)$/.exec(durations(text));
  if (!match) return text;
  return match
    .slice(1)
    .map((ns) => (ns ? exact(Number(ns)) : ''))
    .join('..');
}

/** The question's parameters. */
export function query(own: Own, s: Chosen): Record<string, string> {
  const { node, name, duration, ...rest } = fields(own, s);
  const all: Record<string, string> = {
    ...rest,
    node: own.only ? node : '',
    // A part of a name is what people type; a glob is for those who want it exactly.
    name: name && !/[*?[{]/.test(name) ? `*${name}*` : name,
    duration: duration && durations(duration),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''));
}
