// Where something that opens from a button stands: below the button, or above where there is more room.

/** Room between it and the edges of the window. */
const EDGE = 8;

/** Puts `opened` beside `button`, or with its top at `kept`, within the window; returns where its top is. */
export function place(button: HTMLElement, opened: HTMLElement, kept: number | null = null): number {
  const at = button.getBoundingClientRect();
  const size = opened.getBoundingClientRect();
  const below = at.bottom + 6;
  const wanted = kept ?? (below + size.height > innerHeight - EDGE ? at.top - size.height - 6 : below);
  const top = Math.max(EDGE, Math.min(wanted, innerHeight - size.height - EDGE));
  opened.style.left = `${Math.max(EDGE, Math.min(innerWidth - size.width - EDGE, at.left - 20))}px`;
  opened.style.top = `${top}px`;
  return top;
}

/** Keeps it there while it grows; returns what ends that, for an effect. What somebody works in is `still`: its top stays
 * where it is as long as there is room below it. */
export function placed(button: HTMLElement, opened: HTMLElement, still = false): () => void {
  let top: number | null = null;
  const again = () => {
    const now = place(button, opened, top);
    if (still) top = now;
  };
  again();
  const sizes = new ResizeObserver(again);
  sizes.observe(opened);
  return () => sizes.disconnect();
}
