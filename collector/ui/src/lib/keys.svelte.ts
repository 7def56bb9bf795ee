// The keys of the page: one list, which the help dialog shows. A view adds its own while it is on the screen.

export interface Key {
  /** `event.key`, with `Shift+` in front where that matters. */
  keys: string[];
  /** What the help says. */
  does: string;
  /** Heading in the help. */
  group: string;
  run: (event: KeyboardEvent) => void;
}

class Keys {
  all = $state.raw<Key[]>([]);

  /** Adds keys; returns what removes them again, for an effect. */
  add(keys: Key[]): () => void {
    this.all = [...this.all, ...keys];
    return () => (this.all = this.all.filter((key) => !keys.includes(key)));
  }

  /** Runs what belongs to a key. What is typed into a field stays there. */
  handle(event: KeyboardEvent) {
    const target = event.target as HTMLElement | null;
    const typing = target?.closest('input, select, textarea, [contenteditable]');
    // A dialog has the keys to itself: Esc closes it.
    if (target?.closest('dialog[open]')) return;
    // So does an explanation that is open.
    if (event.key === 'Escape' && document.querySelector(':popover-open')) return;
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (typing && event.key !== 'Escape') return;
    // A button that has the focus is pressed with these.
    if ((event.key === ' ' || event.key === 'Enter') && target?.closest('button, a, [role="button"], summary')) return;
    const arrows = event.key.startsWith('Arrow') || event.key === 'Home' || event.key === 'End';
    const name = event.shiftKey && arrows ? `Shift+${event.key}` : event.key;
    // The latest wins: a view's own keys go before the page's.
    const key = this.all.findLast((key) => key.keys.includes(name));
    if (!key) return;
    event.preventDefault();
    key.run(event);
  }
}

export const keys = new Keys();
