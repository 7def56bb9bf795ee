// Lays out at once what is small, and in a worker what is large.
import { layout, type Layout, type LayoutInput } from './layout';
import type { LayoutReport } from './layout.worker';

/** Boxes that are laid out without a worker. */
const SMALL = 1500;

/** A layout, or null if `signal` was given up before it was done. */
export function arrange(
  input: LayoutInput,
  signal: AbortSignal,
  progress: (part: number) => void,
): Layout | Promise<Layout | null> {
  if (input.boxes.length <= SMALL) return layout(input);
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./layout.worker.ts', import.meta.url), { type: 'module' });
    const end = () => worker.terminate();
    signal.addEventListener('abort', () => {
      end();
      resolve(null);
    });
    worker.onmessage = (event: MessageEvent<LayoutReport>) => {
      if ('layout' in event.data) {
        end();
        resolve(event.data.layout);
      } else progress(event.data.done / event.data.of);
    };
    worker.onerror = (event) => {
      end();
      reject(new Error(event.message || 'the layout stopped'));
    };
    worker.postMessage(input);
  });
}
