// What the timeline says of the thing under the pointer or the selection, in the tooltip and to screen readers.
import type { SessionData } from '../../lib/data.svelte';
import { batchText, bytesInTotal, countInTotal, timeInTotal } from '../../lib/batch';
import { count, percent, time, tokenText } from '../../lib/format';
import { rangeText, type Range } from '../../lib/selection.svelte';
import type { Flame } from './flame';
import { kindOf } from './lanes';
import type { Hit } from './scene';

export interface Description {
  title: string;
  /** Names and values. */
  rows: [string, string][];
  /** A sentence that explains, if one is needed. */
  note?: string;
}

/** Texts of tokens that are listed. */
const LISTED = 12;
const PHASE = { prompt: 'PROMPT', generate: 'GENERATE', unknown: 'unknown', other: 'no tokens' };

export function describe(hit: Hit, session: SessionData): Description | null {
  switch (hit.kind) {
    case 'evaluation':
      return evaluation(session, hit.seq, hit.token);
    case 'layer':
    case 'block': {
      const { part, flame } = hit;
      const n = part.last - part.first + 1;
      const title = hit.kind === 'block' && part.layer !== null ? `${part.label} · layer ${part.layer}` : part.label;
      const tokens = tokensIn(session, flame);
      return { title, rows: [...timeRows(flame, part.start, part.ns, tokens), ['operators', countInTotal(n, tokens)]] };
    }
    case 'operator': {
      const { part, flame } = hit;
      const { tensor } = part;
      const rows: [string, string][] = [
        ['operator', tensor?.op ?? 'not in the graph'],
        ['layer', part.layer === null ? (tensor?.node_type ?? '–') : `${part.layer} · ${part.block}`],
        ...timeRows(flame, part.start, part.end - part.start, tokensIn(session, flame)),
      ];
      if (part.fused.length === 0) return { title: tensor?.name || `#${part.node}`, rows };
      const fused = part.fused.map((node) => flame.tensors.get(node)).map((t) => `${t?.name ?? '?'} (${t?.op ?? '?'})`);
      return {
        title: tensor?.name || `#${part.node}`,
        rows,
        note: `computed in one go with ${fused.join(', ')}: the time is that of both`,
      };
    }
    case 'unknown':
      return {
        title: `${count(hit.part.nodes.length)} operators`,
        rows: [['within', time(hit.part.end - hit.part.start)]],
        note: 'They were executed in this time; when each of them, and how long, is not known.',
      };
    default:
      return null;
  }
}

/** Tokens of the evaluation that a flame is of. */
function tokensIn(session: SessionData, flame: Flame): number {
  return session.timeline.row(flame.seq)?.n_tokens ?? 1;
}

function timeRows(flame: Flame, start: number, ns: number, tokens: number): [string, string][] {
  const batch = batchText({ evaluations: 1, tokens });
  return [
    ...(batch ? [['computed', batch] as [string, string]] : []),
    ['time', timeInTotal(ns, tokens)],
    ['share', `${percent(ns / Math.max(1, flame.dur_ns))} of the evaluation`],
    ['begins at', `+${time(start)}`],
  ];
}

function evaluation(session: SessionData, seq: number, token: number | null): Description | null {
  const t = session.timeline;
  const row = t.row(seq);
  if (!row) return null;
  const kind = kindOf(t, seq);
  const n = row.n_tokens;
  const rows: [string, string][] = [];
  const last = row.first_token + n - 1;
  if (n === 1 || token !== null) {
    const known = session.token(token ?? row.first_token);
    rows.push([
      'text',
      known ? `${tokenText(session.textOf(known.number)) || '–'}${known.id === null ? '' : `  (id ${known.id})`}` : '…',
    ]);
  }
  if (n > 1) {
    const texts: string[] = [];
    for (let i = 0; i < Math.min(n, LISTED); i++) texts.push(tokenText(session.textOf(row.first_token + i)));
    rows.push(['texts', `${texts.join(' ')}${n > LISTED ? ' …' : ''}`]);
  }
  rows.push(['phase', PHASE[kind] + (n > 1 && kind === 'generate' ? ` (${row.n_generated} of ${n})` : '')]);
  const batch = batchText({ evaluations: 1, tokens: n });
  if (batch) rows.push(['computed', batch]);
  rows.push(['time', timeInTotal(row.dur_ns, n)]);
  rows.push(['begins at', time(row.start_ns)]);
  const untimed = row.untimed === row.operators ? 'their times are not known' : `${count(row.untimed)} without a time`;
  rows.push(['operators', countInTotal(row.operators, n) + (row.untimed === 0 ? '' : `: ${untimed}`)]);
  rows.push(['DISK read', bytesInTotal(row.disk_bytes, n)], ['BUFFER read', bytesInTotal(row.buffer_bytes, n)]);
  rows.push(['minor faults', countInTotal(row.minor_faults, n)], ['major faults', countInTotal(row.major_faults, n)]);
  if (row.status !== 0) rows.push(['status', `${row.status}: it did not end well`]);
  const title =
    n === 0
      ? `evaluation ${row.eval}`
      : token !== null
        ? `token ${token}`
        : n === 1
          ? `token ${row.first_token}`
          : `tokens ${rangeText([row.first_token, last])}`;
  return { title, rows };
}

/** A description in one line. */
export function sentence({ title, rows, note }: Description): string {
  return [title, ...rows.map(([name, value]) => `${name} ${value}`), ...(note ? [note] : [])].join(', ');
}

/** What is selected, in one line. */
export function describeTokens(tokens: Range | null, session: SessionData): string {
  const t = session.timeline;
  if (!tokens) return t.tokens ? `${count(t.tokens)} tokens, none selected` : 'no tokens yet';
  const seq = t.seqOfToken(tokens[0]);
  if (seq === undefined) return `tokens ${rangeText(tokens)}: not here`;
  const n = t.n_tokens[seq];
  const whole = tokens[0] === t.first_token[seq] && tokens[1] === tokens[0] + n - 1;
  const said = tokens[0] === tokens[1] || whole ? evaluation(session, seq, n > 1 && !whole ? tokens[0] : null) : null;
  if (said) return sentence(said);
  return `tokens ${rangeText(tokens)} selected, ${count(tokens[1] - tokens[0] + 1)} of ${count(t.tokens)}`;
}
