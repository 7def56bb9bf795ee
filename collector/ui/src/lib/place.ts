// Where something that opens from a button stands: below the button, or above where there is more room.

/** Room between it and the edges of the window. */
const EDGE = 8;

/** Puts `opened` beside `button`, within the window. */
export function place(button: HTMLElement, opened: HTMLElement) {
  const at = button.getBoundingClientRect();
  const size = opened.getBoundingClientRect();
  const below = at.bottom + 6;
  const top = below + size.height > innerHeight - EDGE ? at.top - size.height - 6 : below;
  opened.style.left = `${Math.max(EDGE, Math.min(innerWidth - size.width - EDGE, at.left - 20))}px`;
  opened.style.top = `${Math.max(EDGE, Math.min(top, innerHeight - size.height - EDGE))}px`;
}

/** Keeps it there while it grows; returns what ends that, for an effect. */
export function placed(button: HTMLElement, opened: HTMLElement): () => void {
  const again = () => place(button, opened);
  again();
  const sizes = new ResizeObserver(again);
  sizes.observe(opened);
  return () => sizes.disconnect();
}
