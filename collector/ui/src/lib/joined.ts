// Tokens that are parts of a UTF-8 character: their bytes are put together, and each of them has the whole text.
import type { Token } from './types';

/** Neighbours on each side that can share a character: it has four bytes at most, and a token one at least. */
const FAR = 4;

/** A text that several tokens have together. */
export interface Joined {
  text: string;
  /** The tokens, in their order. */
  tokens: number[];
}

const decoder = new TextDecoder('utf-8', { fatal: true });

function bytesOf(token: Token): number[] {
  return (token.text_bytes ?? '').match(/../g)?.map((hex) => parseInt(hex, 16)) ?? [];
}

/** How many bytes the character that begins with a byte has; 0 if none does. */
function lengthOf(byte: number): number {
  if (byte < 0x80) return 1;
  if (byte >= 0xc2 && byte < 0xe0) return 2;
  if (byte >= 0xe0 && byte < 0xf0) return 3;
  return byte >= 0xf0 && byte < 0xf5 ? 4 : 0;
}

/** The text of a token together with its neighbours, if they are parts of one character; null if there is no such text. */
export function joined(number: number, known: (number: number) => Token | undefined): Joined | null {
  const isPart = (n: number) => Boolean(known(n)?.text_bytes);
  if (!isPart(number)) return null;
  for (let first = number; first > number - FAR && isPart(first); first--) {
    const [bytes, tokens]: [number[], number[]] = [[], []];
    for (let last = first; last < number + FAR && isPart(last); last++) {
      bytes.push(...bytesOf(known(last)!));
      tokens.push(last);
      if (last < number || !endsWhole(bytes)) continue;
      try {
        return { text: decoder.decode(Uint8Array.from(bytes)), tokens };
      } catch {
        break;
      }
    }
  }
  return null;
}

/** Whether bytes end where a character ends, if they begin where one begins. */
function endsWhole(bytes: number[]): boolean {
  let at = 0;
  while (at < bytes.length) {
    const length = lengthOf(bytes[at]);
    if (length === 0) return false;
    at += length;
  }
  return at === bytes.length;
}

/** The texts of tokens that follow each other as one text: characters of several tokens are there once. */
export function running(first: number, last: number, known: (number: number) => Token | undefined): string {
  let text = '';
  for (let n = first; n <= last; n++) {
    const whole = joined(n, known);
    if (!whole) text += known(n)?.text ?? '';
    else if (n === whole.tokens[0] || n === first) text += whole.text;
  }
  return text;
}

/** The text of one token: of a character that several share, which part of it that is: `🎉 1/3`. */
export function labelOf(token: Token, known: (number: number) => Token | undefined): string | null {
  const whole = joined(token.number, known);
  if (!whole || whole.tokens.length === 1) return whole?.text ?? token.text;
  return `${whole.text} ${whole.tokens.indexOf(token.number) + 1}/${whole.tokens.length}`;
}
