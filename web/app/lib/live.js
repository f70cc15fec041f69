// The one live stream of the page: everything that happens on the server, with resume after a cut.
import { signal } from './html.js';
import { locked, online, refused, sentNow } from './api.js';
import { frames } from './sse.js';

/** `connecting`, `live` or `offline`. */
export const connection = signal(/** @type {'connecting' | 'live' | 'offline'} */ ('connecting'));
/** Grows when lists must be read again: the stream began, or events were lost (`reset`). */
export const epoch = signal(0);
/** Grows whenever the server is within reach again. */
export const returns = signal(0);
/** When the next try to connect comes, in milliseconds since 1970. */
export const nextTry = signal(0);

/** @type {Set<(event: LiveEvent) => void>} */
const listeners = new Set();
let last = '';
/** @type {(() => void) | null} */
let wake = null;

/**
 * Calls `each` with every event; returns how to stop.
 * @param {(event: LiveEvent) => void} each
 */
export function listen(each) {
  listeners.add(each);
  return () => {
    listeners.delete(each);
  };
}

/** Tries to connect now instead of waiting. */
export function reconnect() {
  wake?.();
}

/** @param {LiveEvent} event */
function tell(event) {
  for (const each of listeners) {
    try {
      each(event);
    } catch (error) {
      console.error(error);
    }
  }
}

/** Silence for longer than this (the server sends a comment every 15 s) is a dead connection. */
const SILENCE = 40_000;

async function follow() {
  const abort = new AbortController();
  let watchdog = setTimeout(() => abort.abort(), SILENCE);
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => abort.abort(), SILENCE);
  };
  try {
    /** @type {Record<string, string>} */
    const headers = { accept: 'text/event-stream', ...(last ? { 'last-event-id': last } : {}) };
    const sent = sentNow();
    const response = await fetch('/v1/events', { headers, signal: abort.signal });
    if (response.status === 401) refused(sent);
    if (!response.ok || !response.body) throw new Error(`the stream answered ${response.status}`);
    const watched = new Response(
      response.body.pipeThrough(
        new TransformStream({
          transform(chunk, controller) {
            alive();
            controller.enqueue(chunk);
          },
        }),
      ),
    );
    connection.value = 'live';
    returns.value += 1;
    online.value = true;
    if (!last) epoch.value += 1;
    for await (const frame of frames(watched)) {
      if (frame.id) last = frame.id;
      if (frame.event === 'reset') {
        epoch.value += 1;
        continue;
      }
      if (frame.event === 'error' || frame.event === 'end') continue;
      tell(frame.data);
    }
  } finally {
    clearTimeout(watchdog);
    abort.abort();
  }
}

/** Follows the stream for as long as the page is open. */
export async function start() {
  let failures = 0;
  addEventListener('online', reconnect);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) reconnect();
  });
  for (;;) {
    const began = Date.now();
    try {
      await follow();
    } catch {
      /* told by the state below */
    }
    failures = Date.now() - began > 10_000 ? 0 : failures + 1;
    connection.value = failures > 1 ? 'offline' : 'connecting';
    if (locked.value) return; // signing in begins the page anew
    if (failures > 1) online.value = false;
    const wait = Math.min(500 * 2 ** failures, 15_000);
    nextTry.value = Date.now() + wait;
    await new Promise((resolve) => {
      wake = () => resolve(undefined);
      setTimeout(resolve, wait);
    });
    wake = null;
  }
}
