// The text of a token as the page shows it: whitespace is visible, and a character of several tokens is whole.
import { current } from './current.svelte';
import { tokenText } from './format';

/** The text of a token of the session on the screen; `text` is what an answer says of it. */
export function shownText(token: number | null | undefined, text: string | null | undefined): string {
  return tokenText(current.session?.textOf(token ?? null, text ?? null) ?? text);
}
