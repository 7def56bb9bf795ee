// Questions to the server. A wrong answer becomes an ApiError that says what to do.

import { helpHere } from './help';

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly help: string,
    readonly field?: string,
  ) {
    super(message);
  }
}

/** Whether a request was ended because nobody waits for it any more, which is no error. */
export function ended(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

export type Query = Record<string, string | number | boolean | null | undefined>;

/** The address of a question; parameters without a value are left out. */
export function address(path: string, query: Query = {}): string {
  const given = Object.entries(query).filter(([, v]) => v !== null && v !== undefined && v !== '');
  const text = new URLSearchParams(given.map(([k, v]) => [k, String(v)])).toString();
  return `/api/v1${path}${text ? `?${text}` : ''}`;
}

async function ask(path: string, query: Query, more: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address(path, query), more);
  } catch (error) {
    if (more.signal?.aborted) throw error;
    throw new ApiError(
      0,
      'the collector does not answer',
      'is ggscope still running? The page goes on when it is back',
    );
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(
    response.status,
    problem.error ?? `${response.status} ${response.statusText}`,
    helpHere(problem.help ?? ''),
    problem.field,
  );
}

/** A JSON answer. */
export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await ask(path, query, { signal })).json();
}

/** Changes what is there, and returns the JSON answer. */
export async function put<T>(path: string, body: object): Promise<T> {
  const headers = { 'Content-Type': 'application/json' };
  return (await ask(path, {}, { method: 'PUT', headers, body: JSON.stringify(body) })).json();
}

/** A binary answer. */
export async function getBytes(path: string, query: Query = {}, signal?: AbortSignal): Promise<ArrayBuffer> {
  return (await ask(path, query, { signal })).arrayBuffer();
}

/** All items of a list, page after page, `most` of them at the most. */
export async function getAll<T>(path: string, query: Query, signal?: AbortSignal, most = 100_000): Promise<T[]> {
  const items: T[] = [];
  let offset: number | null = 0;
  while (offset !== null && items.length < most) {
    const page: { items: T[]; next: number | null } = await get(path, { limit: 1000, ...query, offset }, signal);
    items.push(...page.items);
    offset = page.next;
  }
  return items;
}
