// Draws links in space with three.js: lines of any width and opacity, a box around them, and names on top. Draws when
// something has changed, and never by itself.
import {
  BufferAttribute,
  Color,
  DoubleSide,
  InstancedBufferAttribute,
  InstancedBufferGeometry,
  Mesh,
  PerspectiveCamera,
  Scene,
  ShaderMaterial,
  Vector2,
  Vector3,
  WebGLRenderer,
} from 'three';
import { OrbitControls } from 'three/examples/jsm/controls/OrbitControls.js';
import { place, type Label } from './labels';
import type { Link, Point, Space, Stay } from './links';

export interface Colours {
  text: string;
  muted: string;
  line: string;
  select: string;
  accent: string;
  panel: string;
  head: (head: number) => string;
}

export interface Shown {
  space: Space;
  links: readonly Link[];
  stays: readonly Stay[];
  colours: Colours;
  /** The selected token, layer and head. */
  token: number;
  layer: number;
  head: number;
  /** What a token is called. */
  name: (token: number) => string;
  /** The link that is pointed at. */
  pointed: Link | null;
}

/** What is at a place of the screen. */
export type Found = { link: Link } | { token: number } | { layer: number } | { head: number };

/** Pixels from a line within which it is meant. */
const NEAR = 7;
const FONT = '11px ui-monospace, "DejaVu Sans Mono", monospace';
const VIEW: Point = [48, 44, 118];
/** Nearest and farthest that one can be, and the part of the room that all fills at first. */
const [NEAREST, FARTHEST] = [30, 900];
const FILLED = [0.95, 0.9] as const;
/** Radians that a key turns, and the part that one zooms by. */
const TURN = 0.12;
const ZOOM = 1.18;

const VERTEX = `
  attribute vec3 from;
  attribute vec3 to;
  attribute vec4 tint;
  attribute float wide;
  uniform vec2 size;
  varying vec4 colour;
  void main() {
    vec4 a = projectionMatrix * modelViewMatrix * vec4(from, 1.0);
    vec4 b = projectionMatrix * modelViewMatrix * vec4(to, 1.0);
    vec2 along = (b.xy / b.w - a.xy / a.w) * size;
    along = length(along) > 0.0 ? normalize(along) : vec2(1.0, 0.0);
    vec4 at = mix(a, b, position.x);
    at.xy += vec2(-along.y, along.x) * position.y * max(wide, 1.0) / size * at.w;
    colour = vec4(tint.rgb, tint.a * clamp(wide, 0.0, 1.0));
    gl_Position = at;
  }`;
const FRAGMENT = `
  varying vec4 colour;
  void main() {
    gl_FragColor = colour;
    if (gl_FragColor.a < 0.004) discard;
  }`;

/** A line to draw. */
interface Line {
  from: Point;
  to: Point;
  colour: Color;
  alpha: number;
  wide: number;
}

export class SpaceScene {
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(34, 1, 1, 2000);
  private readonly controls: OrbitControls;
  private readonly material: ShaderMaterial;
  private mesh: Mesh | null = null;
  private shown: Shown | null = null;
  private frame = 0;
  /** Whether somebody has turned or zoomed it: then it stays as it is. */
  private moved = false;
  width = 1;
  height = 1;
  private labels: (Label & { found: Found })[] = [];
  /** What lies over the picture: no name is drawn below it. */
  private taken: Label[] = [];

  constructor(
    canvas: HTMLCanvasElement,
    private readonly names: HTMLCanvasElement,
    private readonly ondrawn: (scene: SpaceScene) => void,
  ) {
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.material = new ShaderMaterial({
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: { size: { value: new Vector2(1, 1) } },
      transparent: true,
      depthTest: false,
      depthWrite: false,
      side: DoubleSide,
    });
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.minDistance = NEAREST;
    this.controls.maxDistance = FARTHEST;
    this.controls.addEventListener('start', () => (this.moved = true));
    this.controls.addEventListener('change', () => this.draw());
    this.reset();
  }

  /** Looks from where it looked at first. */
  reset() {
    this.moved = false;
    this.controls.target.set(0, 0, 0);
    const direction = new Vector3(...VIEW).normalize();
    // As near as all of it can be seen from.
    for (let away = NEAREST; away < FARTHEST; away *= 1.04) {
      this.camera.position.copy(direction).multiplyScalar(away);
      this.camera.lookAt(0, 0, 0);
      this.camera.updateMatrixWorld();
      if (this.allSeen()) break;
    }
    this.controls.update();
    this.draw();
  }

  private allSeen(): boolean {
    const [hx, hy, hz] = this.shown?.space.half ?? [50, 36, 22];
    // With its names around it.
    const corners = [-1, 1].flatMap((x) =>
      [-1, 1].flatMap((y) => [-1, 1].map((z): Point => [x * (hx + 6), y * (hy + 3), z * (hz + 3)])),
    );
    return corners.every((corner) => {
      const at = new Vector3(...corner).project(this.camera);
      return at.z < 1 && Math.abs(at.x) < FILLED[0] && Math.abs(at.y) < FILLED[1];
    });
  }

  /** Turns by so many steps. */
  turn(right: number, up: number) {
    const from = this.camera.position.clone().sub(this.controls.target);
    const length = from.length();
    const side = Math.atan2(from.x, from.z) + right * TURN;
    const above = Math.max(-1.5, Math.min(1.5, Math.asin(from.y / length) + up * TURN));
    from
      .set(Math.sin(side) * Math.cos(above), Math.sin(above), Math.cos(side) * Math.cos(above))
      .multiplyScalar(length);
    this.camera.position.copy(this.controls.target).add(from);
    this.moved = true;
    this.controls.update();
    this.draw();
  }

  zoom(nearer: number) {
    const from = this.camera.position.clone().sub(this.controls.target);
    const length = Math.max(NEAREST, Math.min(FARTHEST, from.length() * ZOOM ** -nearer));
    this.camera.position.copy(this.controls.target).add(from.setLength(length));
    this.moved = true;
    this.controls.update();
    this.draw();
  }

  resize(width: number, height: number) {
    const ratio = devicePixelRatio || 1;
    [this.width, this.height] = [Math.max(1, width), Math.max(1, height)];
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(this.width, this.height, false);
    this.names.width = Math.round(this.width * ratio);
    this.names.height = Math.round(this.height * ratio);
    this.camera.aspect = this.width / this.height;
    this.camera.updateProjectionMatrix();
    this.material.uniforms.size.value.set(this.width, this.height);
    if (this.moved) this.draw();
    else this.reset();
  }

  /** Keeps names out of a part of the picture at its upper left. */
  keepFree(width: number, height: number) {
    this.taken = width > 0 ? [{ x: width / 2, y: height / 2, half: width / 2, height }] : [];
    this.draw();
  }

  show(shown: Shown) {
    this.shown = shown;
    const lines = linesOf(shown);
    const geometry = new InstancedBufferGeometry();
    const corners = new Float32Array([0, -1, 0, 1, -1, 0, 1, 1, 0, 0, 1, 0]);
    geometry.setAttribute('position', new BufferAttribute(corners, 3));
    geometry.setIndex([0, 1, 2, 0, 2, 3]);
    const column = (size: number, fill: (line: Line, at: number, out: Float32Array) => void) => {
      const out = new Float32Array(lines.length * size);
      lines.forEach((line, i) => fill(line, i * size, out));
      return new InstancedBufferAttribute(out, size);
    };
    geometry.setAttribute(
      'from',
      column(3, (line, at, out) => out.set(line.from, at)),
    );
    geometry.setAttribute(
      'to',
      column(3, (line, at, out) => out.set(line.to, at)),
    );
    geometry.setAttribute(
      'wide',
      column(1, (line, at, out) => (out[at] = line.wide)),
    );
    geometry.setAttribute(
      'tint',
      column(4, ({ colour, alpha }, at, out) => out.set([colour.r, colour.g, colour.b, alpha], at)),
    );
    geometry.instanceCount = lines.length;
    if (this.mesh) {
      this.scene.remove(this.mesh);
      this.mesh.geometry.dispose();
    }
    this.mesh = new Mesh(geometry, this.material);
    // What it spans is not known to three.js, and it is always in sight.
    this.mesh.frustumCulled = false;
    this.scene.add(this.mesh);
    this.draw();
  }

  private draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      this.renderer.render(this.scene, this.camera);
      this.drawNames();
      this.ondrawn(this);
    });
  }

  /** A point of space on the screen, in pixels of the page; null behind the camera. */
  project(point: Point): { x: number; y: number } | null {
    const at = new Vector3(...point).project(this.camera);
    if (at.z > 1) return null;
    return { x: ((at.x + 1) / 2) * this.width, y: ((1 - at.y) / 2) * this.height };
  }

  /** Names of tokens, layers and heads along the edges of the box that are towards who looks. */
  private drawNames() {
    const context = this.names.getContext('2d');
    const shown = this.shown;
    if (!context || !shown) return;
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = FONT;
    context.textBaseline = 'middle';
    this.labels = [];
    const { space, colours, token, layer, head, name } = shown;
    const [hx, hy, hz] = space.half;
    const [front, side] = [Math.sign(this.camera.position.z || 1), Math.sign(this.camera.position.x || 1)];
    const put = (point: Point, text: string, chosen: boolean, found: Found, room: number) => {
      const from = this.project(point);
      if (!from || from.x < 0 || from.y < 0 || from.x > this.width || from.y > this.height) return;
      const half = context.measureText(text).width / 2 + 2;
      const wanted = { ...from, half, height: room };
      const at = place(wanted, [...this.taken, ...this.labels], this, chosen);
      if (!at) return;
      context.textAlign = 'center';
      if (chosen) {
        context.fillStyle = colours.panel;
        context.fillRect(at.x - half, at.y - 7, half * 2, 14);
      }
      context.fillStyle = chosen ? colours.select : colours.muted;
      context.fillText(text, at.x, at.y);
      this.labels.push({ ...at, half, height: room, found });
    };
    const tokenAt = (of: number): Point => [space.x(of), -hy - 4, front * (hz + 4)];
    const layerAt = (i: number): Point => [-side * (hx + 5), space.y(i + 0.5), front * hz];
    const headAt = (of: number): Point => [side * (hx + 5), -hy - 2, space.z(of)];
    // The chosen ones go first: the others give way.
    put(tokenAt(token), name(token), true, { token }, 12);
    const chosen = space.layers.indexOf(layer);
    if (chosen >= 0) put(layerAt(chosen), `layer ${layer}`, true, { layer }, 12);
    put(headAt(head), `head ${head}`, true, { head }, 12);
    for (const of of space.tokens) put(tokenAt(of), name(of), false, { token: of }, 12);
    space.layers.forEach((of, i) => put(layerAt(i), String(of), false, { layer: of }, 12));
    for (let of = 0; of < space.heads; of++) put(headAt(of), String(of), false, { head: of }, 12);
  }

  /** What is at a place of the screen: a name, or the strongest link near it. */
  find(x: number, y: number): Found | null {
    const label = this.labels.findLast((one) => Math.abs(one.x - x) <= one.half && Math.abs(one.y - y) <= 8);
    if (label) return label.found;
    let best: { link: Link; score: number } | null = null;
    for (const link of this.shown?.links ?? []) {
      const [a, b] = [this.project(link.from), this.project(link.to)];
      if (!a || !b) continue;
      const apart = distance(x, y, a, b);
      const score = apart - 3 * link.strength;
      if (apart <= NEAR && (best === null || score < best.score)) best = { link, score };
    }
    return best && { link: best.link };
  }

  dispose() {
    cancelAnimationFrame(this.frame);
    this.controls.dispose();
    this.mesh?.geometry.dispose();
    this.material.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }
}

/** Pixels from a place to a line between two. */
function distance(x: number, y: number, a: { x: number; y: number }, b: { x: number; y: number }): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const along = length > 0 ? Math.max(0, Math.min(1, ((x - a.x) * dx + (y - a.y) * dy) / length)) : 0;
  return Math.hypot(a.x + along * dx - x, a.y + along * dy - y);
}

/** All that is drawn, what is farthest to the back of one's mind first. */
function linesOf({ space, links, stays, colours, token, layer, head, pointed }: Shown): Line[] {
  const [hx, hy, hz] = space.half;
  const lines: Line[] = [];
  const put = (from: Point, to: Point, colour: Color, alpha: number, wide: number) =>
    lines.push({ from, to, colour, alpha, wide });
  const [line, select, text] = [colours.line, colours.select, colours.text].map((name) => new Color(name));
  const raw = (colour: Color) => colour.convertLinearToSRGB();
  [line, select, text].forEach(raw);
  for (const of of space.tokens) put([space.x(of), -hy, -hz], [space.x(of), -hy, hz], line, 0.7, 0.6);
  for (const z of [-hz, hz]) {
    put([-hx, -hy, z], [hx, -hy, z], line, 1, 0.8);
    for (const x of [-hx, hx]) put([x, -hy, z], [x, hy, z], line, 1, 0.8);
  }
  // Where the token's state is: the stream of every token, and between the layers all heads of it.
  const share = new Map(stays.map((stay) => [`${stay.token}/${stay.level}`, stay.share]));
  for (const { token, level, share: at } of stays) {
    const x = space.x(token);
    const above = share.get(`${token}/${level + 1}`);
    const alpha = Math.min(1, 0.12 + 0.7 * Math.sqrt(at));
    put([x, space.y(level), -hz], [x, space.y(level), hz], text, alpha * 0.4, 0.8);
    if (above === undefined) continue;
    const wide = 0.6 + 3 * Math.sqrt(Math.min(at, above));
    put([x, space.y(level), 0], [x, space.y(level + 1), 0], text, alpha * 0.55, wide);
  }
  const tints = Array.from({ length: space.heads }, (_, of) => raw(new Color(colours.head(of))));
  for (const link of links) {
    const { from, to, strength } = link;
    const mine = link === pointed;
    put(
      from,
      to,
      mine ? select : tints[link.head],
      mine ? 1 : 0.06 + 0.9 * strength ** 1.5,
      0.6 + 2.6 * strength + (mine ? 1 : 0),
    );
  }
  // The selected token, and the selected head in its layer.
  const x = space.x(token);
  for (const z of [-hz, hz]) put([x, -hy, z], [x, hy, z], select, 0.55, 1);
  for (const y of [-hy, hy]) put([x, y, -hz], [x, y, hz], select, 0.55, 1);
  const level = space.layers.indexOf(layer);
  if (level >= 0 && head < space.heads) {
    const [y, z] = [space.y(level + 0.5), space.z(head)];
    put([-hx, y, z], [hx, y, z], select, 0.55, 1);
  }
  return lines;
}
