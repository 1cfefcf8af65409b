// Asking the service. Lives here: requests, and the one place where their failures become sentences.
// Not here: what is asked for, and the event stream (link.js).

const BASE = "/api/v1";
const PATIENCE_MS = 10_000;
const LOGIN = "The login is missing or has expired. Reload this page and log in again; what is shown here is old.";

/** When the last answer was made, by the Date that came with it; ISO, "" where none did. To the second. */
export let answered = "";

/** A request that did not work. `message` is a sentence for a person; `status` is 0 where no answer came. */
export class Problem extends Error {
  constructor(status, message, body = null) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

async function ask(path, options) {
  let answer, body;
  try {
    answer = await fetch(BASE + path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    const date = Date.parse(answer.headers.get("Date"));
    if (Number.isFinite(date)) answered = new Date(date).toISOString();
    // A proxy that wants a login sends its own page: an answer, but not ours.
    if (answer.status === 401 || answer.status === 403 || (answer.ok && foreign(answer)))
      throw new Problem(answer.status, LOGIN);
    body = await answer.json();
  } catch (cause) {
    if (cause instanceof Problem) throw cause;
    if (answer && !answer.ok)
      throw new Problem(answer.status, `The service answered with an error (${answer.status}).`);
    throw new Problem(
      0,
      cause.name === "TimeoutError" ? "The service does not answer within 10 s." : "The service cannot be reached.",
    );
  }
  if (answer.ok) return body;
  const said = [body.title, body.detail].filter((part) => typeof part === "string" && part).join(": ");
  throw new Problem(answer.status, said || `The service answered with an error (${answer.status}).`, body);
}

const foreign = (answer) => answer.redirected || (answer.headers.get("Content-Type") ?? "").startsWith("text/html");

/** GET, as JSON. Raises Problem. */
export function get(path) {
  return ask(path);
}

/** POST of a JSON body, answered with JSON. Raises Problem. */
export function post(path, body) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** All items of a listing, page by page, up to `pages` pages. Raises Problem. */
export async function all(path, pages = 20) {
  const items = [];
  let cursor = null;
  for (let page = 0; page < pages; page += 1) {
    const glue = path.includes("?") ? "&" : "?";
    const answer = await get(cursor ? `${path}${glue}cursor=${encodeURIComponent(cursor)}` : path);
    items.push(...answer.items);
    cursor = answer.next_cursor ?? null;
    if (!cursor) break;
  }
  return items;
}
