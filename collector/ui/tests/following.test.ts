// The page follows the newest token of a real llama-server, and does at once what somebody asks of it meanwhile.
import { it } from 'vitest';
import type { Operator, Page as List, SessionSummary } from '../src/lib/types';
import { api, open, record, steady, until } from './support';

it('what is followed is selected at once, and who sorts meanwhile does not wait for the next token', async () => {
  const server = await record('followed.ggtrace');
  await server.ask('Say hello.', 10);
  const page = await open(`${server.url}/?view=table`);
  // On few cores the newest token is selected every three seconds.
  await page.addInitScript(() => Object.defineProperty(navigator, 'hardwareConcurrency', { get: () => 2 }));
  await page.goto(`${server.url}/?view=table`);
  /** Milliseconds in which all that has to come at once comes: sooner than the next token is selected. */
  const SOON = 2500;
  const [{ tokens }] = await api<SessionSummary[]>(server, '/sessions');
  // The address is written more seldom.
  const selected = async () => /token\s*(\d+)/.exec(await page.locator('[data-test="selection"]').innerText())?.[1];
  const rows = page.locator('[data-test="table-row"]');
  await until(() => rows.count()).toBeGreaterThan(3);
  await until(selected, { timeout: SOON }).toBe(String(tokens - 1));
  const newest = `/sessions/0/operators?tokens=${tokens - 1}`;
  const { total } = await api<List<Operator>>(server, `${newest}&limit=1`);
  const shown = page.locator('[data-test="table-total"]');
  await until(() => shown.textContent(), { timeout: 5000 }).toContain(String(total));
  // A token comes: the table has just asked for it, and would not ask again for three seconds.
  const before = tokens;
  await server.ask('Say it again.', 3);
  await until(async () => Number(await selected()), { timeout: 10_000 }).toBeGreaterThanOrEqual(before);
  // All three have come, and no more will: what is selected now stays.
  const [{ tokens: all }] = await api<SessionSummary[]>(server, '/sessions');
  await until(async () => Number(await selected()), { timeout: 10_000 }).toBe(all - 1);
  const last = await steady(selected);
  const slowest = await api<List<Operator>>(server, `/sessions/0/operators?tokens=${last}&sort=-duration&limit=1`);
  await page.locator('[data-column="duration"]').click();
  await until(() => rows.first().textContent(), { timeout: SOON }).toContain(slowest.items[0].name);
  await until(() => page.locator('[data-test="timeline-follow"]').getAttribute('aria-pressed')).toBe('true');
});
