// The lines of the table: every row is one, and under a row that is open each of its sources is one more.

export interface Line {
  row: number;
  /** Which of the row's sources; null is the row itself. */
  source: number | null;
}

export class Lines {
  /** Rows that are open, in order, with the lines that all before them add. */
  private readonly open: { row: number; sources: number; before: number }[];
  readonly length: number;

  /** `sources`: how many lines each open row adds. */
  constructor(
    readonly rows: number,
    sources: ReadonlyMap<number, number>,
  ) {
    let before = 0;
    this.open = [...sources]
      .filter(([row]) => row < rows)
      .sort((a, b) => a[0] - b[0])
      .map(([row, sources]) => {
        const at = { row, sources, before };
        before += sources;
        return at;
      });
    this.length = rows + before;
  }

  /** What is on a line. */
  at(line: number): Line {
    const last = this.open.findLast((o) => o.row + o.before <= line);
    if (!last) return { row: line, source: null };
    const within = line - last.row - last.before;
    if (within === 0) return { row: last.row, source: null };
    if (within <= last.sources) return { row: last.row, source: within - 1 };
    return { row: line - last.before - last.sources, source: null };
  }

  /** The line of a row, or of one of its sources. */
  of({ row, source }: Line): number {
    const last = this.open.findLast((o) => o.row <= row);
    if (!last) return row;
    if (last.row === row) return row + last.before + (source === null ? 0 : source + 1);
    return row + last.before + last.sources;
  }
}
