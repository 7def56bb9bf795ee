// `npm run dev` serves the page with the answers of a running `ggscope open` (GGSCOPE_URL); `npm run build` makes what
// the binary carries.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

const server = process.env.GGSCOPE_URL ?? 'http://127.0.0.1:7437';

export default defineConfig({
  plugins: [svelte()],
  build: { target: 'es2022', chunkSizeWarningLimit: 2000, assetsInlineLimit: 0 },
  server: { proxy: { '/api': { target: server, changeOrigin: true } } },
  test: { include: ['src/**/*.test.ts'] },
});
