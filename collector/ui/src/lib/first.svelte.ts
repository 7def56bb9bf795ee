// Whether the page has shown its first picture, the timeline. What takes long to begin waits for that.

class First {
  shown = $state(false);

  constructor() {
    // A session without evaluations has no such picture.
    if (typeof window !== 'undefined') setTimeout(() => this.done(), 1500);
  }

  done() {
    this.shown = true;
  }
}

export const first = new First();
