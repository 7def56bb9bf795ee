// The entry of the page that carries a model with it in one file: `ggscope arch MODEL -o DIR` writes complete_dashboard.html.
import './app.css';
import { mount } from 'svelte';
import Dashboard from './views/model/Dashboard.svelte';
import type { Embedded } from './views/model/embedded-source';

const data: unknown = JSON.parse(document.getElementById('model')!.textContent!);
mount(Dashboard, {
  target: document.getElementById('app')!,
  // A template that nothing was put into holds a text.
  props: { data: typeof data === 'object' ? (data as Embedded | null) : null },
});
