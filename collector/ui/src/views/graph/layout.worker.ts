// Lays out large graphs beside the page, so that it goes on answering.
import { layout, type LayoutInput } from './layout';

export type LayoutReport = { done: number; of: number } | { layout: ReturnType<typeof layout> };

self.onmessage = (event: MessageEvent<LayoutInput>) => {
  const report = (message: LayoutReport) => self.postMessage(message);
  report({ layout: layout(event.data, (done, of) => report({ done, of })) });
};
