// `npm run dev` serves the page with the answers of a running `ggscope open` (GGSCOPE_URL); `npm run build` makes what
// the binary carries.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

const server = process.env.GGSCOPE_URL ?? 'http://127.0.0.1:7437';

/** Of KaTeX's fonts only those that every browser of today reads: the others are twice as much again. */
const fonts: Plugin = {
  name: 'katex-fonts',
  enforce: 'pre',
  transform(code, id) {
    if (!/katex[^/]*\.css/.test(id)) return;
    return code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\([^)]*\)/g, '');
  },
};

export default defineConfig({
  plugins: [fonts, svelte()],
  build: { target: 'es2022', chunkSizeWarningLimit: 2000, assetsInlineLimit: 0 },
  server: { proxy: { '/api': { target: server, changeOrigin: true } } },
  test: { include: ['src/**/*.test.ts'] },
});
