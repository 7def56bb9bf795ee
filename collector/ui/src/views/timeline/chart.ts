// The timeline's canvas: keeps the window and draws, once a frame at most and only when something has changed.
import type { SessionData } from '../../lib/data.svelte';
import { first } from '../../lib/first.svelte';
import type { Range } from '../../lib/selection.svelte';
import {
  around,
  axisOf,
  clamp,
  evaluationAt,
  fit,
  follow,
  reveal,
  spanOfTokens,
  zoom,
  type Axis,
  type AxisKind,
  type Span,
} from './axis';
import { drawScene } from './draw';
import { partAt, type Flame, type Wanted } from './flame';
import { Lanes } from './lanes';
import { inLane, layout, type Layout } from './layout';
import { Overview } from './overview';
import { palette, type Palette } from './palette';
import { patterns, type Patterns } from './patterns';
import { place, type Hit, type OpenBar, type Scene } from './scene';
import { FlameStore } from './spans';
import { visible, type Visible } from './visible';

const ANIMATION_MS = 170;
/** Pixels that a pointer may be beside a thing that is narrower. */
const NEAR_PX = 2;
/** A bar shows its operators from this width on: pixels, and share of the window; if it is selected, sooner. */
const OPEN_PX = 180;
const OPEN_SHARE = 0.22;
const OPEN_SELECTED_PX = 60;
/** What is looked at while the head is followed, if the run is longer. */
const FOLLOWED: Record<AxisKind, number> = { time: 15e9, tokens: 120 };

const ease = (x: number) => 1 - (1 - x) ** 3;

export class Chart {
  span: Span = { from: 0, to: 1 };
  axis!: Axis;
  layout!: Layout;
  tokens: Range | null = null;
  wanted: Wanted = { layer: null, op: null, tensor: null };
  pointed: Scene['pointed'] = null;
  hover: Hit | null = null;
  /** Whether the session has times of operators. */
  timed = true;
  dragged: Span | null = null;
  following = false;
  /** Called when something else has come under a pointer that stays. */
  slid: () => void = () => {};
  /** Hears which part of which axis is looked at; null is all of it, or the newest. Places are as in an address. */
  looked: (kind: AxisKind, window: Range | null) => void = () => {};
  private kind: AxisKind = 'time';
  /** What was heard last, or asked for. */
  private told: Range | null = null;
  readonly lanes = new Lanes();
  private flames: FlameStore;
  private overview = new Overview();
  private palette: Palette | null = null;
  private patterns: Patterns = { stripes: '', hatch: '', untimed: '' };
  private seen: { key: string; rows: Visible[] } = { key: '', rows: [] };
  private open: OpenBar[] = [];
  private opened = 0;
  private whole = true;
  private begun = false;
  /** Whether a run that gets too long for the window rolls through it, instead of getting smaller. */
  private rolling = false;
  /** The evaluation that fills the window because that was asked for: its neighbours will, too. */
  private alone: number | null = null;
  private animation: { from: Span; to: Span; since: number } | null = null;
  private frame = 0;
  private drawnSpan: Span = this.span;
  private lastFrame = 0;
  private marked = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private growing = false;
  /** Called when what is new has been taken in. */
  took: () => void = () => {};
  private readonly calm = matchMedia('(prefers-reduced-motion: reduce)').matches;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    readonly session: SessionData,
  ) {
    this.flames = new FlameStore(session, () => this.invalidate());
    this.prepare();
    this.span = fit(this.axis);
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    this.frame = -1;
  }

  /** Draws in the next frame. */
  invalidate() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.run());
  }

  /** The theme has changed. */
  recolor() {
    this.palette = null;
    this.invalidate();
  }

  /** The session has grown, or the newest token is selected: the next frame takes it in. */
  grown() {
    this.growing = true;
    this.invalidate();
  }

  private grow() {
    this.growing = false;
    this.prepare();
    if (!this.begun && this.lanes.length > 0) this.begin();
    else if (this.following) this.keepUp();
    else if (this.whole) this.span = fit(this.axis);
    this.took();
  }

  private keepUp() {
    const { whole } = this.axis;
    const long = whole.to - whole.from > FOLLOWED[this.kind];
    if (!this.whole) this.span = follow(this.span, this.axis);
    else if (!this.rolling || !long) this.span = fit(this.axis);
    else {
      this.whole = false;
      this.span = follow({ from: whole.to - FOLLOWED[this.kind], to: whole.to }, this.axis);
    }
    this.animation = null;
  }

  /** The first look at a run: at what is selected, if that would be too small to be seen. */
  private begin() {
    this.begun = true;
    if (this.told) this.show(this.spanOf(this.told), { at: 'once' });
    else this.home();
  }

  /** All of the run; what is selected, if that would be too small to be seen. */
  private home() {
    this.span = fit(this.axis);
    this.whole = true;
    this.animation = null;
    this.invalidate();
    const part = this.tokens && this.partOf(this.tokens);
    if (!part) return;
    const width = ((part.to - part.from) / (this.span.to - this.span.from)) * (this.canvas.clientWidth || 1000);
    if (width >= 6) return;
    this.span = around(part, this.axis, 40);
    this.whole = false;
  }

  /** Shows what an address says. */
  view(kind: AxisKind, window: Range | null) {
    if (kind === this.kind && (window === this.told || window?.join() === this.told?.join())) return;
    this.kind = kind;
    this.told = window;
    this.prepare();
    if (!this.begun) return;
    if (window) this.show(this.spanOf(window), { at: 'once' });
    else this.home();
  }

  private spanOf(window: Range): Span {
    const unit = this.kind === 'time' ? 1e6 : 1;
    return { from: window[0] * unit, to: window[1] * unit };
  }

  /** Says what is looked at. */
  private tell() {
    if (!this.begun) return;
    const { from, to } = this.animation?.to ?? this.span;
    const unit = this.kind === 'time' ? 1e6 : 1;
    const at = (place: number) => Number((place / unit).toFixed(6));
    const window: Range | null = this.whole || this.following ? null : [at(from), at(to)];
    this.told = window;
    this.looked(this.kind, window);
  }

  setAxis(kind: AxisKind) {
    if (kind === this.kind) return;
    const t = this.session.timeline;
    const middle = (this.span.from + this.span.to) / 2;
    const seq = this.lanes.rows.flatMap((row) => evaluationAt(row, this.axis, middle, Infinity) ?? [])[0];
    this.kind = kind;
    this.prepare();
    if (this.whole || seq === undefined) this.span = fit(this.axis);
    else {
      // As many tokens as there were, about the same place.
      const tokens = Math.max(8, Math.min(t.tokens, 40));
      const one = kind === 'tokens' ? 1 : Math.max(1, this.axis.end(seq) - this.axis.begin(seq));
      const at = this.axis.begin(seq);
      this.span = clamp({ from: at - (tokens / 2) * one, to: at + (tokens / 2) * one }, this.axis);
    }
    this.alone = null;
    this.tell();
    this.invalidate();
  }

  setFollowing(following: boolean) {
    if (following === this.following) return;
    this.following = following;
    this.rolling = following;
    if (following) this.keepUp();
    this.tell();
    if (!following) return;
    this.invalidate();
  }

  /** Another selection, which is brought into sight. */
  select(tokens: Range | null) {
    const was = this.tokens;
    this.tokens = tokens;
    if (this.following) return this.grown();
    this.invalidate();
    if (!tokens || !this.begun || (was && was[0] === tokens[0] && was[1] === tokens[1])) return;
    const part = this.partOf(tokens);
    if (!part) return;
    const seq = this.session.timeline.seqOfToken(tokens[0])!;
    if (this.alone !== null && this.alone !== seq) this.zoomTo(seq);
    else this.show(reveal(this.animation?.to ?? this.span, part, this.axis), { alone: this.alone });
  }

  private partOf(tokens: Range): Span | null {
    return spanOfTokens(tokens, this.session.timeline, this.axis);
  }

  /** Moves the window. */
  show(span: Span, { at = 'slowly', alone = null }: { at?: 'slowly' | 'once'; alone?: number | null } = {}) {
    const target = clamp(span, this.axis);
    const all = fit(this.axis);
    this.whole = target.to - target.from >= (all.to - all.from) * 0.999;
    this.alone = alone;
    if (at === 'once' || this.calm) {
      this.span = target;
      this.animation = null;
    } else this.animation = { from: this.span, to: target, since: performance.now() };
    this.tell();
    this.invalidate();
  }

  showAll() {
    this.rolling = false;
    this.show(fit(this.axis));
  }

  /** Fills the window with one evaluation. */
  zoomTo(seq: number) {
    const part = { from: this.axis.begin(seq), to: this.axis.end(seq) };
    this.show(around(part, this.axis), { alone: seq });
  }

  /** Fills the window with the selected tokens. */
  zoomToSelection() {
    if (!this.tokens) return this.showAll();
    const t = this.session.timeline;
    const [a, b] = [t.seqOfToken(this.tokens[0]), t.seqOfToken(Math.min(this.tokens[1], t.tokens - 1))];
    if (a === undefined || b === undefined) return;
    if (a === b) this.zoomTo(a);
    else this.show(around({ from: this.axis.begin(a), to: this.axis.end(b) }, this.axis));
  }

  /** Zooms about the middle, or the newest while following. */
  zoomBy(factor: number) {
    const span = this.animation?.to ?? this.span;
    const part = this.tokens && this.partOf(this.tokens);
    const middle = (span.from + span.to) / 2;
    const seen = part && part.to > span.from && part.from < span.to ? (part.from + part.to) / 2 : middle;
    const at = this.following ? span.to : Math.min(span.to, Math.max(span.from, seen));
    this.show(zoom(span, at, factor, this.axis));
  }

  panBy(share: number) {
    const span = this.animation?.to ?? this.span;
    const by = (span.to - span.from) * share;
    this.show({ from: span.from + by, to: span.to + by });
  }

  /** Place on the axis of a pixel. */
  place(x: number): number {
    return place(this, x);
  }

  /** What is at a pixel. */
  hit(x: number, y: number): Hit | null {
    const { layout: l, axis } = this;
    if (x < l.left - 4) return null;
    if (inLane(l.overview, y)) return { kind: 'overview' };
    if (inLane(l.ruler, y)) return { kind: 'ruler' };
    const at = place(this, x);
    const near = (NEAR_PX / l.inner) * (this.span.to - this.span.from);
    if (inLane(l.flame.whole, y)) return this.hitFlame(x, y);
    const row = l.rows.findIndex((lane) => inLane(lane, y));
    const rows = row >= 0 ? [this.lanes.rows[row]] : y >= l.times.y ? this.lanes.rows : [];
    for (const candidate of rows) {
      const seq = evaluationAt(candidate, axis, at, near);
      if (seq === undefined) continue;
      const t = this.session.timeline;
      const n = t.n_tokens[seq];
      const own = this.kind === 'tokens' && n > 1 && l.inner / (this.span.to - this.span.from) >= 3;
      const index = Math.min(n - 1, Math.max(0, Math.floor(at - axis.begin(seq))));
      return { kind: 'evaluation', seq, token: own ? t.first_token[seq] + index : null };
    }
    return null;
  }

  private hitFlame(x: number, y: number): Hit | null {
    const bar = this.open.find((bar) => x - this.layout.left >= bar.x0 && x - this.layout.left <= bar.x1);
    if (!bar) return null;
    const flame = bar.entry;
    if (typeof flame !== 'object' || 'error' in flame) return { kind: 'evaluation', seq: bar.seq, token: null };
    const scale = flame.dur_ns / (bar.x1 - bar.x0);
    const [at, near] = [(x - this.layout.left - bar.x0) * scale, NEAR_PX * scale];
    const unknown = flame.unknown.find((part) => at >= part.start && at <= part.end);
    if (unknown) return { kind: 'unknown', flame, part: unknown };
    const { layers, blocks } = this.layout.flame;
    const kind = inLane(layers, y) ? 'layer' : inLane(blocks, y) ? 'block' : 'operator';
    if (kind === 'operator') {
      const part = partAt(flame.operators, at, near);
      return part ? { kind, flame, part } : null;
    }
    const part = partAt(kind === 'layer' ? flame.layers : flame.blocks, at, near);
    return part ? { kind, flame, part } : null;
  }

  /** The flame of an evaluation, if it is on the screen and its operators are here. */
  flameOf(seq: number): Flame | null {
    const entry = this.open.find((bar) => bar.seq === seq)?.entry;
    return typeof entry === 'object' && 'operators' in entry ? entry : null;
  }

  private prepare() {
    this.lanes.update(this.session.timeline);
    this.axis = axisOf(this.kind, this.session.timeline, this.lanes);
    this.layout = layout(this.canvas.clientWidth, this.canvas.clientHeight, this.lanes.rows.length, this.opened);
  }

  private run() {
    if (this.frame === -1) return;
    this.frame = 0;
    const now = performance.now();
    const { from } = this.drawnSpan;
    if (this.growing) this.grow();
    this.animate(now);
    this.draw(now);
    this.drawnSpan = this.span;
    if (from !== this.span.from) this.slid();
    this.lastFrame = now;
    this.mark();
  }

  private animate(now: number) {
    if (!this.animation) return;
    const { from, to, since } = this.animation;
    const x = Math.min(1, (now - since) / ANIMATION_MS);
    const k = ease(x);
    this.span = { from: from.from + (to.from - from.from) * k, to: from.to + (to.to - from.to) * k };
    if (x < 1) this.invalidate();
    else this.animation = null;
  }

  private draw(now: number) {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (width === 0 || height === 0) return;
    const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== pixels[0] || this.canvas.height !== pixels[1]) {
      [this.canvas.width, this.canvas.height] = pixels;
    }
    this.prepare();
    // A canvas in memory: a graphics card hardly gains with such rectangles, and without one it costs many times.
    const g = this.canvas.getContext('2d', { alpha: false, willReadFrequently: true })!;
    if (!this.palette) {
      this.palette = palette();
      this.patterns = patterns(g, this.palette);
    }
    const seen = this.look();
    const bars = this.chooseOpen(seen.flatMap((v) => v.bars));
    const hint = bars.length > 0 || this.following ? null : this.hint();
    this.openFlame(bars.length > 0 || hint ? 1 : 0, now);
    if (bars.length > 0 || hint || this.opened === 0) this.open = bars;
    const scene: Scene = {
      ...{ g, session: this.session, lanes: this.lanes, axis: this.axis, span: this.span, layout: this.layout },
      ...{ palette: this.palette, ...this.patterns, visible: seen, open: this.open },
      ...{ wanted: this.wanted, pointed: this.pointed, hover: this.hover, dragged: this.dragged },
      selected: this.tokens && this.partOf(this.tokens),
      hint,
    };
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.fillStyle = this.palette.panel;
    g.fillRect(0, 0, width, height);
    drawScene(scene);
    if (this.overview.draw(scene, ratio)) this.soon();
  }

  /** What is in the window; the same as before unless the window or the session is another. */
  private look(): Visible[] {
    const { span, kind, lanes, layout } = this;
    const key = [span.from, span.to, kind, lanes.length, layout.inner].join();
    if (key !== this.seen.key) {
      const rows = lanes.rows.map((row) => visible(this.session.timeline, row, this.axis, span, layout.inner));
      this.seen = { key, rows };
    }
    return this.seen.rows;
  }

  /** The bars that are wide enough for their operators; the selected one goes before others at the same time. */
  private chooseOpen(bars: { seq: number; x0: number; x1: number }[]): OpenBar[] {
    const { inner } = this.layout;
    const seqs = this.tokens?.map((token) => this.session.timeline.seqOfToken(token)) ?? [];
    const isSelected = (seq: number) => seq === seqs[0] && seq === seqs[1];
    const least = Math.max(OPEN_PX, inner * OPEN_SHARE);
    const chosen: OpenBar[] = [];
    const wide = bars.filter(({ seq, x0, x1 }) => x1 - x0 >= (isSelected(seq) ? OPEN_SELECTED_PX : least));
    wide.sort((a, b) => Number(isSelected(b.seq)) - Number(isSelected(a.seq)) || b.x1 - b.x0 - (a.x1 - a.x0));
    for (const bar of wide) {
      if (bar.x1 <= 0 || bar.x0 >= inner || chosen.some((other) => bar.x0 < other.x1 && bar.x1 > other.x0)) continue;
      // While the window flies past, nothing is asked for.
      chosen.push({ ...bar, entry: this.animation ? this.known(bar.seq) : this.flames.flame(bar.seq) });
    }
    return chosen;
  }

  /** Where the operators of the selected token are to be found. */
  private hint(): string | null {
    if (!this.tokens || this.tokens[0] !== this.tokens[1] || !this.partOf(this.tokens)) return null;
    if (!this.timed) return 'the times of operators were not recorded in this session (level graph)';
    return `press Z or double click for the operators of token ${this.tokens[0]}`;
  }

  private known(seq: number): OpenBar['entry'] {
    return this.open.find((bar) => bar.seq === seq)?.entry;
  }

  private openFlame(target: 0 | 1, now: number) {
    if (this.opened === target) return;
    const step = this.calm ? 1 : Math.min(1, Math.max(0.08, (now - this.lastFrame) / ANIMATION_MS));
    this.opened = target > this.opened ? Math.min(1, this.opened + step) : Math.max(0, this.opened - step);
    this.prepare();
    this.invalidate();
  }

  private soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.invalidate(), 200);
  }

  /** For those who measure how long an operator takes from the program to the screen. */
  private mark() {
    if (this.lanes.length <= this.marked) return;
    this.marked = this.lanes.length;
    performance.clearMarks('ggscope-drawn');
    performance.mark('ggscope-drawn', { detail: { session: this.session.id, seq: this.marked - 1 } });
    // After the browser has painted it.
    if (!first.shown) setTimeout(() => first.done());
  }
}
