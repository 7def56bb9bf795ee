// Colours and type of the page's theme for the timeline's canvas.
import { inkOn, themeColor } from '../../lib/colors';
import type { Block } from './blocks';
import type { Kind } from './lanes';

export interface Palette {
  panel: string;
  raised: string;
  line: string;
  text: string;
  muted: string;
  faint: string;
  accent: string;
  select: string;
  bad: string;
  kind: Record<Kind, string>;
  /** Text on a bar. */
  onKind: Record<Kind, string>;
  block: Record<Block, string>;
  sans: string;
  mono: string;
}

export function palette(): Palette {
  const accentText = themeColor('--accent-text');
  return {
    panel: themeColor('--panel'),
    raised: themeColor('--raised'),
    line: themeColor('--line'),
    text: themeColor('--text'),
    muted: themeColor('--muted'),
    faint: themeColor('--faint'),
    accent: themeColor('--accent'),
    select: themeColor('--select'),
    bad: themeColor('--bad'),
    kind: {
      prompt: themeColor('--prompt'),
      generate: themeColor('--generate'),
      unknown: themeColor('--unknown'),
      other: themeColor('--faint'),
    },
    onKind: {
      prompt: inkOn(themeColor('--prompt')),
      generate: accentText,
      unknown: inkOn(themeColor('--unknown')),
      other: themeColor('--bg'),
    },
    block: { attention: '#ee8866', 'feed-forward': '#77aadd', norm: '#44aa99', other: '#a9b1ba' },
    sans: themeColor('--font'),
    mono: themeColor('--mono'),
  };
}
