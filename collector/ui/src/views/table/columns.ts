// The columns of the trace table.

export interface Column {
  id: string;
  title: string;
  /** What its header says to those who point at it. */
  help: string;
  /** Pixels, at least. */
  width: number;
  /** The same where the table has only a part of the page. */
  narrow?: number;
  /** Its part of the width that is left over. */
  grows?: number;
  numeric?: boolean;
  /** What the server calls it in `sort`. */
  sort?: string;
}

export const COLUMNS: readonly Column[] = [
  {
    id: 'token',
    title: 'token',
    help: 'number and text of the token; ×39: one of a batch of 39, whose operators have one duration together',
    width: 132,
    narrow: 120,
    sort: 'token',
  },
  {
    id: 'phase',
    title: 'phase',
    help: 'PROMPT (PRO), GENERATE (GEN) or unknown (unk)',
    width: 72,
    narrow: 46,
    sort: 'phase',
  },
  { id: 'layer', title: 'layer', help: 'layer of the model', width: 46, numeric: true, sort: 'layer' },
  { id: 'op', title: 'op', help: 'kind of operator', width: 114, narrow: 98, sort: 'op' },
  { id: 'name', title: 'name', help: 'name of what it computed', width: 120, narrow: 104, grows: 3, sort: 'name' },
  {
    id: 'duration',
    title: 'duration',
    help: 'its own time, for all tokens of its batch together; the bar is its part of the longest one around',
    width: 108,
    narrow: 98,
    grows: 2,
    numeric: true,
    sort: 'duration',
  },
  {
    id: 'start',
    title: 'start [s]',
    help: 'seconds since the first evaluation of the session',
    width: 80,
    numeric: true,
  },
  { id: 'shape', title: 'type, shape', help: 'type and shape of what it computed', width: 118 },
  {
    id: 'read',
    title: 'read',
    help: 'what it read of its sources, for all tokens of its batch together: of rows and experts what was read of them',
    width: 72,
    numeric: true,
  },
  { id: 'source', title: 'sources', help: 'how many lie on DISK and in a BUFFER', width: 66 },
  { id: 'device', title: 'device', help: 'what computed it', width: 54 },
];

/** A table that is narrower than this has narrow columns. */
export const NARROW = 720;
/** Narrower than this no column gets. */
export const MIN_WIDTH = 36;

/** What a click on a header makes of the order: the one that people ask for first, its reverse, the file's. */
export function nextSort(column: string, sort: string | null): string | null {
  const [first, second] = column === 'duration' ? [`-${column}`, column] : [column, `-${column}`];
  return sort === first ? second : sort === second ? null : first;
}

/** `aria-sort` of a column. */
export function ariaSort(column: Column, sort: string | null): 'ascending' | 'descending' | 'none' | undefined {
  if (!column.sort) return undefined;
  return sort === column.sort ? 'ascending' : sort === `-${column.sort}` ? 'descending' : 'none';
}
