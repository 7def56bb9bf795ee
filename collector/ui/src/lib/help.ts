// What the server's errors say to do is for whoever asks it, too: of that, a page shows what its user can do.

/** A route of the API, or how to ask it something. */
const ROUTE = /\/api\/|\/sessions\b|openapi|attention\/map|\?\w+=/;

/** The help without what speaks of routes. */
export function helpHere(help: string): string {
  return help
    .split(/;\s+/)
    .filter((part) => !ROUTE.test(part))
    .join('; ');
}
