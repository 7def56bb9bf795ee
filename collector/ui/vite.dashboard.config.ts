// Builds dist/dashboard.html: the views of a model with everything inside one file, which `ggscope arch` puts a model into.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { viteSingleFile } from 'vite-plugin-singlefile';

export default defineConfig({
  plugins: [svelte(), viteSingleFile({ removeViteModuleLoader: true })],
  publicDir: false,
  build: {
    target: 'es2022',
    chunkSizeWarningLimit: 4000,
    emptyOutDir: false,
    rollupOptions: { input: 'dashboard.html' },
  },
});
