// How the charts look: the page's colours and type, and what all their axes have in common.
import type { EChartsCoreOption } from 'echarts/core';
import { themeColor } from '../../lib/colors';
import { theme } from '../../lib/theme.svelte';

const COLORS = [
  'text',
  'muted',
  'faint',
  'line',
  'panel',
  'raised',
  'accent',
  'select',
  'prompt',
  'generate',
  'unknown',
  'disk',
  'buffer',
  'bad',
] as const;

export type Look = Record<(typeof COLORS)[number], string>;
export type Option = EChartsCoreOption;

/** The colours of now; an effect or a derived that asks runs again when the theme changes. */
export function look(): Look {
  void theme.name;
  return Object.fromEntries(COLORS.map((name) => [name, themeColor(`--${name}`)])) as Look;
}

/** A name that rich text does not take for markup. */
export function plain(text: string): string {
  return text.replace(/\{(?=\w+\|)/g, '{\u200b');
}

/** What every chart begins with. */
export function base(colors: Look): Option {
  return {
    animation: false,
    textStyle: { fontFamily: 'system-ui, "Noto Sans", "DejaVu Sans", sans-serif', fontSize: 11, color: colors.text },
    tooltip: {
      trigger: 'axis',
      renderMode: 'richText',
      confine: true,
      transitionDuration: 0,
      backgroundColor: colors.raised,
      borderColor: colors.line,
      borderWidth: 1,
      padding: [7, 10],
      textStyle: { color: colors.text, fontSize: 12, lineHeight: 17 },
      axisPointer: { type: 'shadow', shadowStyle: { color: colors.muted, opacity: 0.12 }, label: { show: false } },
    },
  };
}

/** An axis with names. */
export function names(colors: Look, data: (string | number)[], more: object = {}): object {
  return {
    type: 'category',
    data,
    axisLine: { lineStyle: { color: colors.line } },
    axisTick: { show: false },
    axisLabel: { color: colors.muted, fontSize: 11, hideOverlap: true },
    ...more,
  };
}

/** An axis of amounts. */
export function amounts(colors: Look, formatter: (value: number) => string, more: object = {}): object {
  return {
    type: 'value',
    splitNumber: 3,
    axisLine: { show: false },
    axisLabel: { color: colors.muted, fontSize: 11, formatter, hideOverlap: true },
    splitLine: { lineStyle: { color: colors.line, opacity: 0.6 } },
    ...more,
  };
}

interface Drawing {
  coord: (at: [number, number]) => [number, number];
  size: (of: [number, number]) => [number, number];
}

/** A frame around the selected places of two axes of names: all of the height where `y` is missing. */
export function frame(colors: Look, x: [number, number], y: [number, number] | null, xAxis = 0, yAxis = xAxis): object {
  return {
    type: 'custom',
    xAxisIndex: xAxis,
    yAxisIndex: yAxis,
    silent: true,
    clip: true,
    z: 5,
    tooltip: { show: false },
    encode: { x: 0, y: 1 },
    data: [[x[0], y?.[0] ?? 0]],
    renderItem: (params: { coordSys: { y: number; height: number } }, api: Drawing) => {
      const [width, height] = api.size([1, 1]);
      const [left, top] = api.coord([x[0], y?.[0] ?? 0]);
      const room = Math.max(3, width * (x[1] - x[0] + 1));
      return {
        type: 'rect',
        shape: {
          x: left - width / 2 - (room > width * (x[1] - x[0] + 1) ? 1 : 0),
          y: y ? top - height / 2 : params.coordSys.y,
          width: room,
          height: y ? height * (y[1] - y[0] + 1) : params.coordSys.height,
        },
        style: y
          ? { fill: 'transparent', stroke: colors.select, lineWidth: 2 }
          : { fill: colors.select, opacity: 0.32, stroke: colors.select, lineWidth: 1 },
      };
    },
  };
}

/** The name of an axis, over it or beside it. */
export function axisName(colors: Look, name: string, more: object = {}): object {
  return { name, nameTextStyle: { color: colors.muted, fontSize: 11 }, ...more };
}
