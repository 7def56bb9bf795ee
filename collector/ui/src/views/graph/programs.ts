// What sigma draws with WebGL: boxes of four shapes, and curves with arrows, whole or dashed.
import { EdgeProgram, NodeProgram, type ProgramInfo } from 'sigma/rendering';
import type { NodeDisplayData, EdgeDisplayData, RenderParams } from 'sigma/types';
import type Sigma from 'sigma';
import { floatColor } from 'sigma/utils';

/** Units of the layout in one unit of sigma's frame. */
export const UNIT = 1000;

export interface BoxData {
  boxWidth: number;
  boxHeight: number;
  fill: string;
  border: string;
  stripe: string;
  shape: number;
}

export interface CurveData {
  /** Eight numbers: begin, two control points, end. */
  curve: number[];
  tint: string;
  thickness: number;
  dashed: boolean;
  arrow: boolean;
}

const { FLOAT, UNSIGNED_BYTE, TRIANGLES, ARRAY_BUFFER, STATIC_DRAW } = WebGL2RenderingContext;

// Not instanced: software WebGL draws instances one by one, which takes a hundred times as long. What does not change is
// not sent again: the camera is a uniform.

/** The two triangles of a square. */
const SQUARE = [
  [-1, -1],
  [1, -1],
  [-1, 1],
  [-1, 1],
  [1, -1],
  [1, 1],
];
const BOX_UNIFORMS = ['u_matrix', 'u_px', 'u_dpr'] as const;

/** Renderers that leave out boxes, or curves, for as long as the view moves. */
export const leftOut = { boxes: new WeakSet<Sigma>(), curves: new WeakSet<Sigma>() };

/** From which box to which there are some on the screen: the others are not drawn. */
export const within = new WeakMap<Sigma, Record<'box' | 'frame', [number, number]>>();

/** Rectangles with a border and a stripe at the left. */
export class BoxProgram extends NodeProgram<(typeof BOX_UNIFORMS)[number]> {
  private stale = true;

  protected get kind(): 'box' | 'frame' {
    return 'box';
  }

  drawWebGL(method: number, { gl, frameBuffer }: ProgramInfo) {
    const [first, end] = within.get(this.renderer)?.[this.kind] ?? [0, this.capacity];
    gl.bindFramebuffer(gl.FRAMEBUFFER, frameBuffer);
    if (end > first) gl.drawArrays(method, first * this.VERTICES, (end - first) * this.VERTICES);
  }

  // What is under the pointer is found in the layout: nothing has to be drawn a second time for it.
  constructor(gl: WebGLRenderingContext, _picking: WebGLFramebuffer | null, renderer: Sigma) {
    super(gl, null, renderer);
  }

  getDefinition() {
    return {
      VERTICES: SQUARE.length,
      METHOD: TRIANGLES,
      VERTEX_SHADER_SOURCE: /* glsl */ `
        attribute vec2 a_corner;
        attribute vec2 a_middle;
        attribute vec2 a_size;
        attribute vec4 a_fill;
        attribute vec4 a_border;
        attribute vec4 a_stripe;
        attribute float a_shape;
        uniform mat3 u_matrix;
        uniform float u_px;
        varying vec2 v_at;
        varying vec2 v_half;
        varying vec4 v_fill;
        varying vec4 v_border;
        varying vec4 v_stripe;
        varying float v_shape;
        void main() {
          vec2 reach = a_size * 0.5 + 1.0 / u_px;
          gl_Position = vec4((u_matrix * vec3(a_middle + a_corner * reach, 1.0)).xy, 0.0, 1.0);
          v_at = a_corner * reach * u_px;
          v_half = a_size * 0.5 * u_px;
          v_fill = a_fill;
          v_border = a_border;
          v_stripe = a_stripe;
          v_shape = a_shape;
        }`,
      FRAGMENT_SHADER_SOURCE: /* glsl */ `
        precision highp float;
        varying vec2 v_at;
        varying vec2 v_half;
        varying vec4 v_fill;
        varying vec4 v_border;
        varying vec4 v_stripe;
        varying float v_shape;
        uniform float u_px;
        uniform float u_dpr;
        void main() {
          float scale = u_px / ${UNIT}.0;
          vec2 p = abs(v_at);
          float d;
          if (v_shape < 1.5) {
            float r = v_shape < 0.5 ? min(5.0 * scale, v_half.y) : v_half.y;
            vec2 q = p - v_half + r;
            d = length(max(q, 0.0)) + min(max(q.x, q.y), 0.0) - r;
          } else {
            float cut = v_shape < 2.5 ? v_half.y : min(7.0 * scale, v_half.y);
            d = max(max(p.x - v_half.x, p.y - v_half.y), (p.x + p.y - v_half.x - v_half.y + cut) * 0.7071);
          }
          float cover = clamp(0.5 - d, 0.0, 1.0);
          if (cover <= 0.0) discard;
          float line = clamp(1.3 * scale, 0.5 * u_dpr, 2.0 * u_dpr);
          vec4 color = v_at.x < 4.0 * scale - v_half.x && v_stripe.a > 0.0 ? v_stripe : v_fill;
          color = mix(color, v_border, clamp(d + line + 0.5, 0.0, 1.0) * step(0.001, v_border.a));
          float alpha = color.a * cover;
          gl_FragColor = vec4(color.rgb * alpha, alpha);
        }`,
      UNIFORMS: BOX_UNIFORMS,
      ATTRIBUTES: [
        { name: 'a_corner', size: 2, type: FLOAT },
        { name: 'a_middle', size: 2, type: FLOAT },
        { name: 'a_size', size: 2, type: FLOAT },
        { name: 'a_fill', size: 4, type: UNSIGNED_BYTE, normalized: true },
        { name: 'a_border', size: 4, type: UNSIGNED_BYTE, normalized: true },
        { name: 'a_stripe', size: 4, type: UNSIGNED_BYTE, normalized: true },
        { name: 'a_shape', size: 1, type: FLOAT },
      ],
    };
  }

  processVisibleItem(_index: number, at: number, data: NodeDisplayData) {
    const box = data as NodeDisplayData & BoxData;
    const { array } = this;
    const [fill, border, stripe] = [floatColor(box.fill), floatColor(box.border), floatColor(box.stripe)];
    for (const [cx, cy] of SQUARE) {
      array[at++] = cx;
      array[at++] = cy;
      array[at++] = box.x;
      array[at++] = box.y;
      array[at++] = box.boxWidth / UNIT;
      array[at++] = box.boxHeight / UNIT;
      array[at++] = fill;
      array[at++] = border;
      array[at++] = stripe;
      array[at++] = box.shape;
    }
    this.stale = true;
  }

  render(params: RenderParams) {
    if (!leftOut.boxes.has(this.renderer)) super.render(params);
  }

  protected bindProgram(program: ProgramInfo) {
    const { gl, buffer } = program;
    gl.bindBuffer(ARRAY_BUFFER, buffer);
    let offset = 0;
    for (const attribute of this.ATTRIBUTES) offset += this.bindAttribute(attribute, program, offset);
    if (this.stale) gl.bufferData(ARRAY_BUFFER, this.array, STATIC_DRAW);
    this.stale = false;
  }

  setUniforms(params: RenderParams, { gl, uniformLocations }: ProgramInfo) {
    gl.uniformMatrix3fv(uniformLocations.u_matrix, false, params.matrix);
    gl.uniform1f(uniformLocations.u_px, pixels(params));
    gl.uniform1f(uniformLocations.u_dpr, params.pixelRatio);
  }
}

/** Frames of open groups: large, so that each of their pixels has to be cheap. */
export class FrameProgram extends BoxProgram {
  protected get kind(): 'box' | 'frame' {
    return 'frame';
  }

  render(params: RenderParams) {
    NodeProgram.prototype.render.call(this, params);
  }

  getDefinition() {
    return {
      ...super.getDefinition(),
      FRAGMENT_SHADER_SOURCE: /* glsl */ `
        precision mediump float;
        varying highp vec2 v_at;
        varying highp vec2 v_half;
        varying vec4 v_fill;
        varying vec4 v_border;
        void main() {
          highp vec2 d = abs(v_at) - v_half;
          float inside = -max(d.x, d.y);
          vec4 color = inside < 1.0 ? v_border : v_fill;
          float alpha = color.a * clamp(inside + 0.5, 0.0, 1.0);
          gl_FragColor = vec4(color.rgb * alpha, alpha);
        }`,
    };
  }
}

/** Device pixels in a unit of sigma's frame. */
function pixels({ matrix, width, pixelRatio }: RenderParams): number {
  return Math.abs(matrix[0]) * (width / 2) * pixelRatio;
}

const CURVE_UNIFORMS = ['u_matrix', 'u_px', 'u_dpr'] as const;

/** Corners of the triangles along a curve: part of its length, side, width (3 and 0 are those of an arrow's head). */
function corners(pieces: number): number[][] {
  const all: number[][] = [];
  for (let k = 0; k < pieces; k++) {
    const [a, z] = [k / pieces, (k + 1) / pieces];
    all.push([a, -1, 1], [a, 1, 1], [z, -1, 1], [z, -1, 1], [a, 1, 1], [z, 1, 1]);
  }
  all.push([1, -1, 3], [1, 1, 3], [2, 0, 0]);
  return all;
}

/** A program for curves of some straight pieces each. */
export function curveProgram(pieces: number) {
  const all = corners(pieces);
  return class CurveProgram extends EdgeProgram<(typeof CURVE_UNIFORMS)[number]> {
    stale = true;

    constructor(gl: WebGLRenderingContext, _picking: WebGLFramebuffer | null, renderer: Sigma) {
      super(gl, null, renderer);
    }

    getDefinition() {
      return {
        VERTICES: all.length,
        METHOD: TRIANGLES,
        VERTEX_SHADER_SOURCE: /* glsl */ `
          attribute vec3 a_corner;
          attribute vec4 a_begin;
          attribute vec4 a_end;
          attribute vec4 a_color;
          attribute vec2 a_style;
          uniform mat3 u_matrix;
          uniform float u_px;
          uniform float u_dpr;
          varying vec4 v_color;
          varying float v_side;
          varying float v_half;
          varying float v_along;
          varying float v_dash;
          void main() {
            float scale = u_px / ${UNIT}.0;
            vec2 p0 = a_begin.xy;
            vec2 p1 = a_begin.zw;
            vec2 p2 = a_end.xy;
            vec2 p3 = a_end.zw;
            float dashed = step(1.5, a_style.y);
            float arrow = mod(a_style.y, 2.0);
            float len = max((length(p1 - p0) + length(p2 - p1) + length(p3 - p2)) * u_px, 0.001);
            float head = arrow * min(min(7.0 * scale, 9.0 * u_dpr), len * 0.6);
            float body = 1.0 - head / len;
            float t = a_corner.x > 1.5 ? 1.0 : a_corner.x * body;
            float s = 1.0 - t;
            vec2 at = s * s * s * p0 + 3.0 * s * s * t * p1 + 3.0 * s * t * t * p2 + t * t * t * p3;
            vec2 way = s * s * (p1 - p0) + 2.0 * s * t * (p2 - p1) + t * t * (p3 - p2);
            if (length(way) < 1e-9) way = p3 - p0;
            vec2 normal = length(way) > 0.0 ? normalize(vec2(-way.y, way.x)) : vec2(0.0);
            float thick = max(a_style.x * scale, 0.9 * u_dpr);
            float wide = a_corner.z == 1.0 ? thick * 0.5 : a_corner.z * head * 0.16;
            v_half = wide;
            wide += 0.75;
            gl_Position = vec4((u_matrix * vec3(at + normal * a_corner.y * wide / u_px, 1.0)).xy, 0.0, 1.0);
            v_side = a_corner.y * wide;
            v_color = a_color;
            v_along = t * len / u_dpr;
            v_dash = dashed * (1.0 - step(1.5, a_corner.x));
          }`,
        FRAGMENT_SHADER_SOURCE: /* glsl */ `
          precision highp float;
          varying vec4 v_color;
          varying float v_side;
          varying float v_half;
          varying float v_along;
          varying float v_dash;
          void main() {
            if (v_dash > 0.5 && mod(v_along, 9.0) > 5.0) discard;
            float alpha = v_color.a * clamp(v_half + 0.5 - abs(v_side), 0.0, 1.0);
            gl_FragColor = vec4(v_color.rgb * alpha, alpha);
          }`,
        UNIFORMS: CURVE_UNIFORMS,
        ATTRIBUTES: [
          { name: 'a_corner', size: 3, type: FLOAT },
          { name: 'a_begin', size: 4, type: FLOAT },
          { name: 'a_end', size: 4, type: FLOAT },
          { name: 'a_color', size: 4, type: UNSIGNED_BYTE, normalized: true },
          { name: 'a_style', size: 2, type: FLOAT },
        ],
      };
    }

    processVisibleItem(
      _index: number,
      at: number,
      _from: NodeDisplayData,
      _to: NodeDisplayData,
      data: EdgeDisplayData,
    ) {
      const { curve, tint, thickness, dashed, arrow } = data as EdgeDisplayData & CurveData;
      const { array } = this;
      const color = floatColor(tint);
      const style = (arrow ? 1 : 0) + (dashed ? 2 : 0);
      for (const [along, side, width] of all) {
        array[at++] = along;
        array[at++] = side;
        array[at++] = width;
        for (let k = 0; k < 8; k += 2) {
          array[at++] = 0.5 + curve[k] / UNIT;
          array[at++] = 0.5 - curve[k + 1] / UNIT;
        }
        array[at++] = color;
        array[at++] = thickness;
        array[at++] = style;
      }
      this.stale = true;
    }

    render(params: RenderParams) {
      if (!leftOut.curves.has(this.renderer)) super.render(params);
    }

    protected bindProgram(program: ProgramInfo) {
      const { gl, buffer } = program;
      gl.bindBuffer(ARRAY_BUFFER, buffer);
      let offset = 0;
      for (const attribute of this.ATTRIBUTES) offset += this.bindAttribute(attribute, program, offset);
      if (this.stale) gl.bufferData(ARRAY_BUFFER, this.array, STATIC_DRAW);
      this.stale = false;
    }

    setUniforms(params: RenderParams, { gl, uniformLocations }: ProgramInfo) {
      gl.uniformMatrix3fv(uniformLocations.u_matrix, false, params.matrix);
      gl.uniform1f(uniformLocations.u_px, pixels(params));
      gl.uniform1f(uniformLocations.u_dpr, params.pixelRatio);
    }
  };
}
