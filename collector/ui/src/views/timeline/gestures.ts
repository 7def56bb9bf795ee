// The mouse on the timeline: wheel, drags of the window, the brush and ranges of tokens, clicks.
import { clamp, pan, tokensOfSpan, zoom, type Span } from './axis';
import type { Chart } from './chart';
import { brushPart, overviewPlace } from './overview';
import type { Hit } from './scene';

/** Pixels that a press may move and still be a click. */
const CLICK_PX = 4;

export interface Actions {
  click: (hit: Hit, event: PointerEvent) => void;
  /** Tokens were dragged over. */
  range: (tokens: [number, number]) => void;
  /** The window was moved by hand. */
  moved: () => void;
  hover: (hit: Hit | null, x: number, y: number) => void;
}

type Drag =
  | { kind: 'pan'; span: Span; x: number }
  | { kind: 'range'; from: number }
  | { kind: 'left' | 'right' | 'inside'; span: Span; at: number };

export class Gestures {
  private drag: Drag | null = null;
  private pressed: { x: number; y: number } | null = null;

  constructor(
    private readonly element: () => HTMLCanvasElement,
    private readonly chart: () => Chart | null,
    private readonly actions: Actions,
  ) {}

  private get canvas(): HTMLCanvasElement {
    return this.element();
  }

  wheel(event: WheelEvent) {
    const chart = this.chart();
    if (!chart) return;
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const { x, y } = this.at(event);
    const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
    const { span, axis } = chart;
    const width = span.to - span.from;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      chart.show(pan(span, ((sideways * unit) / chart.layout.inner) * width, axis), { at: 'once' });
      this.actions.moved();
    } else {
      const inOverview = y < chart.layout.ruler.y;
      const pointer = inOverview ? overviewPlace(chart, x) : chart.place(Math.max(chart.layout.left, x));
      // While the newest is followed it stays where it is.
      const at = chart.following ? span.to : Math.min(span.to, Math.max(span.from, pointer));
      const factor = Math.exp(Math.max(-120, Math.min(120, event.deltaY * unit)) * 0.0028);
      chart.show(zoom(span, at, factor, axis), { at: 'once' });
    }
    this.actions.hover(chart.hit(x, y), x, y);
  }

  down(event: PointerEvent) {
    const chart = this.chart();
    if (!chart || event.button !== 0) return;
    const { x, y } = this.at(event);
    this.pressed = { x, y };
    this.canvas.setPointerCapture(event.pointerId);
    const hit = chart.hit(x, y);
    if (hit?.kind === 'overview') {
      const part = brushPart(chart, x);
      if (part === 'outside') {
        const half = (chart.span.to - chart.span.from) / 2;
        const at = overviewPlace(chart, x);
        chart.show({ from: at - half, to: at + half }, { at: 'once' });
        this.actions.moved();
      }
      const kind = part === 'outside' ? 'inside' : part;
      this.drag = { kind, span: chart.span, at: overviewPlace(chart, x) };
    } else if (hit?.kind === 'ruler' || event.shiftKey) {
      this.drag = { kind: 'range', from: chart.place(x) };
    } else this.drag = { kind: 'pan', span: chart.span, x };
  }

  move(event: PointerEvent) {
    const chart = this.chart();
    if (!chart) return;
    const { x, y } = this.at(event);
    const pressed = this.pressed;
    if (!this.drag || !pressed) {
      this.canvas.style.cursor = this.cursor(chart, x, y, event.shiftKey);
      return this.actions.hover(chart.hit(x, y), x, y);
    }
    if (Math.abs(x - pressed.x) < CLICK_PX && Math.abs(y - pressed.y) < CLICK_PX && !chart.dragged) {
      if (this.drag.kind === 'pan' || this.drag.kind === 'range') return;
    }
    this.actions.hover(null, x, y);
    this.dragTo(chart, this.drag, x);
  }

  private dragTo(chart: Chart, drag: Drag, x: number) {
    const { layout, axis } = chart;
    if (drag.kind === 'range') {
      const at = chart.place(Math.max(layout.left, x));
      chart.dragged = { from: Math.min(drag.from, at), to: Math.max(drag.from, at) };
      return chart.invalidate();
    }
    if (drag.kind === 'pan') {
      this.canvas.style.cursor = 'grabbing';
      const by = ((drag.x - x) / layout.inner) * (drag.span.to - drag.span.from);
      chart.show(pan(drag.span, by, axis), { at: 'once' });
    } else {
      const by = overviewPlace(chart, x) - drag.at;
      const { from, to } = drag.span;
      const span =
        drag.kind === 'inside'
          ? { from: from + by, to: to + by }
          : drag.kind === 'left'
            ? { from: Math.min(from + by, to - axis.least), to }
            : { from, to: Math.max(to + by, from + axis.least) };
      chart.show(clamp(span, axis), { at: 'once' });
    }
    this.actions.moved();
  }

  up(event: PointerEvent) {
    const chart = this.chart();
    const [drag, pressed] = [this.drag, this.pressed];
    this.drag = this.pressed = null;
    if (!chart || !drag || !pressed) return;
    const { x, y } = this.at(event);
    this.canvas.style.cursor = this.cursor(chart, x, y, event.shiftKey);
    if (chart.dragged) {
      const tokens = tokensOfSpan(chart.dragged, chart.session.timeline, chart.lanes, chart.axis);
      chart.dragged = null;
      chart.invalidate();
      if (tokens) this.actions.range(tokens);
      return;
    }
    if (Math.abs(x - pressed.x) >= CLICK_PX || Math.abs(y - pressed.y) >= CLICK_PX) return;
    const hit = chart.hit(x, y);
    if (hit) this.actions.click(hit, event);
  }

  cancel() {
    const chart = this.chart();
    this.drag = this.pressed = null;
    if (!chart?.dragged) return;
    chart.dragged = null;
    chart.invalidate();
  }

  doubleClick(event: MouseEvent) {
    const chart = this.chart();
    if (!chart) return;
    const { x, y } = this.at(event);
    const hit = chart.hit(x, y);
    if (hit?.kind === 'overview') chart.showAll();
    else if (hit?.kind === 'evaluation') chart.zoomTo(hit.seq);
    else if (hit && 'part' in hit) {
      // A part of a flame fills the window.
      const { seq, dur_ns } = hit.flame;
      const [begin, end] = [chart.axis.begin(seq), chart.axis.end(seq)];
      const scale = (end - begin) / Math.max(1, dur_ns);
      const part = { from: begin + hit.part.start * scale, to: begin + hit.part.end * scale };
      const air = (part.to - part.from) * 0.06;
      chart.show({ from: part.from - air, to: part.to + air });
    } else return;
    this.actions.moved();
  }

  private cursor(chart: Chart, x: number, y: number, shift: boolean): string {
    if (x < chart.layout.left - 4) return 'default';
    const hit = chart.hit(x, y);
    if (hit?.kind === 'overview') {
      return { left: 'ew-resize', right: 'ew-resize', inside: 'grab', outside: 'pointer' }[brushPart(chart, x)];
    }
    if (hit?.kind === 'ruler' || shift) return 'text';
    return hit ? 'pointer' : 'grab';
  }

  private at(event: MouseEvent): { x: number; y: number } {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }
}
