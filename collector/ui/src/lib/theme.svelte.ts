// Dark or light: as the system says, until the user says otherwise.

class Theme {
  name = $state<'dark' | 'light'>('dark');

  constructor() {
    if (typeof window === 'undefined') return;
    let said: string | null = null;
    try {
      said = localStorage.getItem('ggscope-theme');
    } catch {
      // A browser that keeps nothing follows the system.
    }
    this.set(
      said === 'light' || said === 'dark'
        ? said
        : matchMedia('(prefers-color-scheme: light)').matches
          ? 'light'
          : 'dark',
    );
  }

  private set(name: 'dark' | 'light') {
    this.name = name;
    document.documentElement.dataset.theme = name;
  }

  toggle() {
    this.set(this.name === 'dark' ? 'light' : 'dark');
    try {
      localStorage.setItem('ggscope-theme', this.name);
    } catch {
      // It lasts until the page is closed.
    }
  }
}

/** Whoever draws on a canvas reads `theme.name`, to draw again when it changes. */
export const theme = new Theme();
