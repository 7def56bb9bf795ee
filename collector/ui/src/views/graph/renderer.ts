// The graph on the screen: sigma draws boxes and curves with WebGL, a canvas above it the names. It knows places and
// pixels, nothing of what is selected or why.
import { MultiDirectedGraph } from 'graphology';
import Sigma from 'sigma';
import { HEADER } from './layout';
import { drawOverlay, MARK, markOf, type Marks, type Scene, type View } from './overlay';
import { css, mix } from './paint';
import { BoxProgram, curveProgram, FrameProgram, leftOut, UNIT, within } from './programs';

/** Curves from which on they are drawn straight, and, in software, not while the view moves. */
const MANY_CURVES = 4000;
/** Boxes from which on those that are lower than some pixels are left out while the view moves. */
const MANY_BOXES = 4000;
const BOX = 22;
const SMALLEST = 4;
/** After this long without a move the view stands still. */
const SETTLED_MS = 180;
const MARGIN = 14;
const LARGEST = 3;

export interface Hit {
  node: number;
  /** Whether the mark that opens and closes is meant. */
  mark: boolean;
}

/** One piece of a curve as a straight line. */
function straight(curve: number[], k: number): number[] {
  const [x0, y0, x1, y1] = [curve[k - 2], curve[k - 1], curve[k + 4], curve[k + 5]];
  const [dx, dy] = [(x1 - x0) / 3, (y1 - y0) / 3];
  return [x0, y0, x0 + dx, y0 + dy, x1 - dx, y1 - dy, x1, y1];
}

let probed: { works: boolean; software: boolean } | null = null;

function probe(): { works: boolean; software: boolean } {
  if (!probed) {
    const gl = document.createElement('canvas').getContext('webgl2');
    const info = gl?.getExtension('WEBGL_debug_renderer_info');
    const by = gl && info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : '';
    probed = { works: gl !== null, software: /swiftshader|llvmpipe|softpipe|software|basic render/i.test(by) };
    gl?.getExtension('WEBGL_lose_context')?.loseContext();
  }
  return probed;
}

/** Whether the browser draws with WebGL. */
export function hasWebGl(): boolean {
  return probe().works;
}

/** Whether WebGL runs on the processor. */
function drawsInSoftware(): boolean {
  return probe().software;
}

export class Renderer {
  private readonly sigma: Sigma;
  private readonly canvas: HTMLCanvasElement;
  private readonly ctx: CanvasRenderingContext2D;
  private scene: Scene | null = null;
  private marks: Marks = { selected: -1, focus: -1, hover: -1, edges: [], found: new Set() };
  private frame = 0;
  private moving = false;
  private settling: ReturnType<typeof setTimeout> | undefined;
  private readonly resizing: ResizeObserver;
  /** Whether the whole is meant to be on the screen, whatever the size of the panel. */
  private fitted = true;

  constructor(private readonly container: HTMLElement) {
    this.sigma = new Sigma(new MultiDirectedGraph(), container, {
      allowInvalidContainer: true,
      renderLabels: false,
      autoRescale: true,
      stagePadding: 0,
      zIndex: false,
      defaultNodeType: 'box',
      defaultEdgeType: 'curve',
      // Frames first: what is in them is drawn over them.
      nodeProgramClasses: { frame: FrameProgram, box: BoxProgram },
      edgeProgramClasses: { line: curveProgram(1), curve: curveProgram(10) },
      zoomDuration: 140,
      zoomingRatio: 1.35,
      inertiaDuration: 150,
      doubleClickZoomingRatio: 1,
      enableCameraRotation: false,
    });
    // The frame of reference stays the same whatever is open: only the camera moves.
    this.sigma.setCustomBBox({ x: [-UNIT / 2, UNIT / 2], y: [-UNIT / 2, UNIT / 2] });
    // What is under the pointer is found in the layout. Sigma would draw to a picture of its own for it, and read that
    // back at every move of the pointer, which waits for all that is being drawn.
    Object.assign(this.sigma, { pickingLayers: new Set<string>(), getNodeAtPosition: () => undefined });
    // Layers of sigma that nothing is drawn on cost time to be put together.
    for (const name of ['labels', 'edgeLabels', 'hovers', 'hoverNodes']) {
      const canvas = container.querySelector<HTMLCanvasElement>(`.sigma-${name}`);
      if (canvas) canvas.style.display = 'none';
    }
    this.canvas = document.createElement('canvas');
    this.canvas.className = 'overlay';
    this.canvas.style.cssText = 'position:absolute;inset:0;width:100%;height:100%;pointer-events:none';
    container.append(this.canvas);
    // Where the processor does the drawing, text is drawn faster without the detour over WebGL.
    this.ctx = this.canvas.getContext('2d', { willReadFrequently: drawsInSoftware() })!;
    this.sigma.on('beforeRender', () => {
      this.cull();
      this.simplify();
    });
    this.sigma.getCamera().on('updated', () => this.move());
    this.sigma.on('afterRender', () => this.overlay());
    const captor = this.sigma.getMouseCaptor();
    captor.on('wheel', () => (this.fitted = false));
    captor.on('mousemovebody', (event) => {
      if (event.original instanceof MouseEvent && event.original.buttons) this.fitted = false;
    });
    this.resizing = new ResizeObserver(() => {
      if (!container.clientWidth || !container.clientHeight) return;
      this.sigma.resize();
      if (this.fitted) this.fit(false);
      this.sigma.scheduleRender();
    });
    this.resizing.observe(container);
  }

  kill() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.settling);
    this.resizing.disconnect();
    this.sigma.kill();
    this.canvas.remove();
  }

  /** Shows a scene. `still` is a key that stays where it is on the screen; `refit` lets what was fitted fit again. */
  show(scene: Scene, still: string | null, refit: boolean) {
    const before = still === null || !this.scene ? undefined : this.scene.visible.byKey.get(still);
    const now = still === null ? undefined : scene.visible.byKey.get(still);
    const view = this.view();
    const old = this.scene?.layout;
    this.scene = scene;
    this.sigma.setGraph(this.graphOf(scene));
    this.limit();
    if (before !== undefined && now !== undefined && old && !(refit && this.fitted)) {
      const { x, y } = scene.layout;
      this.look({
        scale: view.scale,
        x: view.x + (old.x[before] - x[now]) * view.scale,
        y: view.y + (old.y[before] - y[now]) * view.scale,
      });
      this.fitted = false;
    } else this.fit(false);
  }

  /** Colours anew what is shown. */
  repaint(scene: Scene) {
    const before = this.scene?.paint;
    this.scene = scene;
    const { paint, visible } = scene;
    const same = (name: 'fill' | 'border' | 'stripe') => before && paint[name].every((c, i) => c === before[name][i]);
    // Only what is written on the boxes is new.
    if (same('fill') && same('border') && same('stripe')) return this.mark(this.marks);
    const graph = this.sigma.getGraph();
    graph.updateEachNodeAttributes(
      (key, attributes) => {
        const i = visible.byKey.get(key);
        if (i === undefined) return attributes;
        return { ...attributes, fill: paint.fill[i], border: paint.border[i], stripe: paint.stripe[i] };
      },
      { attributes: ['fill', 'border', 'stripe'] },
    );
    this.sigma.refresh();
  }

  /** Finds the first and the last box that are on the screen; neighbours are next to each other in the order of boxes. */
  private cull() {
    if (!this.scene) return;
    const { visible, layout } = this.scene;
    const { scale, x, y, width, height } = this.view();
    const [left, top, right, bottom] = [-x / scale, -y / scale, (width - x) / scale, (height - y) / scale];
    const ranges = { box: [Infinity, 0] as [number, number], frame: [Infinity, 0] as [number, number] };
    const at = { box: 0, frame: 0 };
    visible.nodes.forEach((node, i) => {
      const kind = node.kind === 'frame' ? 'frame' : 'box';
      const place = at[kind]++;
      if (layout.x[i] > right || layout.x[i] + layout.width[i] < left) return;
      if (layout.y[i] > bottom || layout.y[i] + layout.height[i] < top) return;
      const range = ranges[kind];
      if (range[0] > place) range[0] = place;
      range[1] = place + 1;
    });
    within.set(this.sigma, ranges);
  }

  /** What is left out while a large graph moves, where the processor does the drawing: curves, and boxes too small. */
  private simplify() {
    if (!this.scene || !drawsInSoftware()) return;
    const { visible, layout } = this.scene;
    const leave = (set: WeakSet<Sigma>, out: boolean) => (out ? set.add(this.sigma) : set.delete(this.sigma));
    leave(leftOut.curves, this.moving && layout.segments.length > MANY_CURVES);
    const small = this.view().scale * BOX < SMALLEST;
    leave(leftOut.boxes, this.moving && small && visible.nodes.length > MANY_BOXES);
  }

  /** The view moves until nothing has moved it for a while. */
  private move() {
    this.moving = true;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.moving = false;
      this.sigma.scheduleRender();
    }, SETTLED_MS);
  }

  mark(marks: Marks) {
    this.marks = marks;
    if (!this.frame) this.frame = requestAnimationFrame(() => this.overlay());
  }

  private graphOf({ visible, layout, paint, palette, dashed }: Scene): MultiDirectedGraph {
    const graph = new MultiDirectedGraph();
    visible.nodes.forEach((node, i) => {
      graph.addNode(node.key, {
        x: layout.x[i] + layout.width[i] / 2,
        y: -(layout.y[i] + layout.height[i] / 2),
        size: 1,
        type: node.kind === 'frame' ? 'frame' : 'box',
        boxWidth: layout.width[i],
        boxHeight: layout.height[i],
        fill: paint.fill[i],
        border: paint.border[i],
        stripe: paint.stripe[i],
        shape: paint.shape[i],
      });
    });
    const many = layout.segments.length > MANY_CURVES;
    const plain = css(mix(palette.panel, palette.muted, 0.62));
    const aside = css(palette.category.infrastructure, 0.5);
    const ends = new Int32Array(layout.segments.length);
    layout.parts.forEach((parts, e) => parts.forEach((part) => (ends[part] = e)));
    layout.segments.forEach((segment, s) => {
      const edge = visible.edges[ends[s]];
      const [from, to] = [visible.nodes[edge.from], visible.nodes[edge.to]];
      const cross = dashed && segment.cross;
      const outside = to.category === 'output' ? palette.category.output : palette.category.input;
      const tint = segment.side ? aside : cross ? css(outside) : plain;
      // In the whole model all layers use what is shared: that is drawn for what is selected or pointed at.
      if (segment.side && !dashed) return;
      const { curve } = segment;
      for (let k = 2; k < curve.length; k += 6) {
        graph.addEdge(from.key, to.key, {
          type: many || curve[k - 2] === curve[k + 4] ? 'line' : 'curve',
          curve: many ? straight(curve, k) : curve.slice(k - 2, k + 6),
          tint,
          thickness: segment.side ? 1 : Math.min(1.4 + Math.log2(segment.edges) * 0.35, 3.5),
          dashed: cross,
          arrow: segment.arrow && k + 6 >= curve.length,
        });
      }
    });
    return graph;
  }

  /** Pixels of a unit of the layout when the camera's ratio is 1. */
  private get base(): number {
    const { width, height } = this.sigma.getDimensions();
    return Math.min(width, height) / UNIT;
  }

  view(): View {
    const { width, height } = this.sigma.getDimensions();
    const { x, y, ratio } = this.sigma.getCamera().getState();
    const scale = this.base / ratio;
    return { scale, x: width / 2 - (x - 0.5) * UNIT * scale, y: height / 2 + (y - 0.5) * UNIT * scale, width, height };
  }

  private look({ scale, x, y }: { scale: number; x: number; y: number }, animate = false) {
    const { width, height } = this.sigma.getDimensions();
    const state = {
      x: 0.5 + (width / 2 - x) / scale / UNIT,
      y: 0.5 - (height / 2 - y) / scale / UNIT,
      ratio: this.base / scale,
    };
    const camera = this.sigma.getCamera();
    if (animate && !matchMedia('(prefers-reduced-motion: reduce)').matches)
      void camera.animate(state, { duration: 220 });
    else camera.setState(state);
  }

  private fitScale(): number {
    if (!this.scene) return 1;
    const { width, height } = this.sigma.getDimensions();
    const { total } = this.scene.layout;
    const wide = (width - 2 * MARGIN) / Math.max(total.width, 1);
    return Math.max(1e-4, Math.min(1.25, wide, (height - 2 * MARGIN) / Math.max(total.height, 1)));
  }

  private limit() {
    this.sigma.setSettings({
      minCameraRatio: this.base / LARGEST,
      maxCameraRatio: this.base / (this.fitScale() * 0.6),
    });
  }

  /** The whole in the panel. */
  fit(animate = true) {
    if (!this.scene) return;
    this.limit();
    const { width, height } = this.sigma.getDimensions();
    const { total } = this.scene.layout;
    const scale = this.fitScale();
    this.look({ scale, x: (width - total.width * scale) / 2, y: (height - total.height * scale) / 2 }, animate);
    this.fitted = true;
  }

  zoom(by: number) {
    const { scale, x, y, width, height } = this.view();
    const to = Math.min(LARGEST, Math.max(this.fitScale() * 0.6, scale * by));
    const part = to / scale;
    this.look({ scale: to, x: width / 2 - (width / 2 - x) * part, y: height / 2 - (height / 2 - y) * part }, true);
    this.fitted = false;
  }

  /** Brings a box into the panel if it is not, large enough to be read. */
  reveal(node: number, always = false) {
    if (!this.scene) return;
    const { layout } = this.scene;
    const view = this.view();
    const [w, h] = [layout.width[node], layout.height[node]];
    const x = layout.x[node] * view.scale + view.x;
    const y = layout.y[node] * view.scale + view.y;
    const inside = x >= 4 && y >= 4 && x + w * view.scale <= view.width - 4 && y + h * view.scale <= view.height - 4;
    if (inside && view.scale >= 0.45 && !always) return;
    const most = Math.min((view.width - 80) / w, (view.height - 40) / h);
    const scale = Math.min(Math.max(view.scale, 0.85), Math.max(most, 0.05));
    const to = {
      scale,
      x: view.width / 2 - (layout.x[node] + w / 2) * scale,
      y: view.height / 2 - (layout.y[node] + h / 2) * scale,
    };
    this.look(to, true);
    this.fitted = false;
  }

  /** What is at a point of the panel. */
  hit(px: number, py: number): Hit | null {
    if (!this.scene) return null;
    const { visible, layout } = this.scene;
    const view = this.view();
    const [x, y] = [(px - view.x) / view.scale, (py - view.y) / view.scale];
    for (let i = visible.nodes.length - 1; i >= 0; i--) {
      const [dx, dy] = [x - layout.x[i], y - layout.y[i]];
      if (dx < 0 || dy < 0 || dx > layout.width[i] || dy > layout.height[i]) continue;
      const { kind } = visible.nodes[i];
      if (kind === 'frame' && dy > HEADER) continue;
      if (kind !== 'frame' && kind !== 'group') return { node: i, mark: false };
      const at = markOf(kind, layout.width[i]);
      const near = 3;
      const inMark = dx >= at.x - near && dx <= at.x + MARK + near && dy >= at.y - near && dy <= at.y + MARK + near;
      return { node: i, mark: inMark };
    }
    return null;
  }

  private overlay() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const dpr = devicePixelRatio || 1;
    const [width, height] = [
      Math.round(this.container.clientWidth * dpr),
      Math.round(this.container.clientHeight * dpr),
    ];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    if (!this.scene) return;
    const drawn = drawOverlay(this.ctx, dpr, this.scene, this.view(), this.marks);
    this.container.dataset.labels = String(drawn);
  }

  /** What is on the screen as a picture. */
  picture(background: string): HTMLCanvasElement {
    // WebGL forgets what it drew when the frame is over: draw, then copy at once.
    this.moving = false;
    this.sigma.refresh();
    const out = document.createElement('canvas');
    out.width = this.canvas.width;
    out.height = this.canvas.height;
    const ctx = out.getContext('2d')!;
    ctx.fillStyle = background;
    ctx.fillRect(0, 0, out.width, out.height);
    const layers = this.sigma.getCanvases();
    for (const layer of [layers.edges, layers.nodes, this.canvas]) ctx.drawImage(layer, 0, 0, out.width, out.height);
    return out;
  }

  on(event: 'click' | 'doubleClick' | 'mousemove' | 'mouseleave', listener: (x: number, y: number) => void) {
    const captor = this.sigma.getMouseCaptor();
    if (event === 'mouseleave') captor.on('mouseleave', () => listener(-1, -1));
    else if (event === 'mousemove') captor.on('mousemove', (at) => listener(at.x, at.y));
    else
      captor.on(event, (at) => {
        at.preventSigmaDefault();
        listener(at.x, at.y);
      });
  }
}
