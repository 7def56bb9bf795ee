// Numbers of the page as files: CSV and JSON.

export type Cell = string | number | boolean | null | undefined;

/** RFC 4180. A text that a spreadsheet would take for a formula stays a text. */
export function csv(rows: Record<string, Cell>[]): string {
  if (rows.length === 0) return '';
  const names = Object.keys(rows[0]);
  const cell = (value: Cell) => {
    if (value === null || value === undefined) return '';
    let text = String(value);
    if (typeof value === 'string' && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [names.join(','), ...rows.map((row) => names.map((name) => cell(row[name])).join(','))].join('\r\n') + '\r\n';
}

/** Lets the browser save a text. */
export function save(name: string, text: string, type: string) {
  saveBlob(name, new Blob([text], { type }));
}

/** Lets the browser save what may be a picture. */
export function saveBlob(name: string, blob: Blob) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function saveCsv(name: string, rows: Record<string, Cell>[]) {
  save(`${name}.csv`, csv(rows), 'text/csv');
}

export function saveJson(name: string, value: unknown) {
  save(`${name}.json`, JSON.stringify(value, null, 1), 'application/json');
}
