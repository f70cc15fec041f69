// The frame of the page: navigation, connection, theme; the page itself is chosen by the address.
import { html, render, useEffect, useRef, useState } from './lib/html.js';
import { theme, toggleTheme } from './lib/colour.js';
import { connection, nextTry, reconnect, returns, start } from './lib/live.js';
import { identity, locked, OfflineError, online } from './lib/api.js';
import { route } from './lib/router.js';
import { learn, refusal, signOut } from './lib/session.js';
import { attempt, News, Questions, say } from './parts/ask.js';
import { Icon } from './parts/icon.js';
import { Failure, Loading, useNow } from './parts/common.js';
import { SignIn } from './parts/sign_in.js';

/**
 * A page, and the role from which on it is offered.
 * @typedef {[path: PageName, text: string, icon: import('./parts/icon.js').IconName, role: Api['Role']]} Link
 */

/** @type {Link[]} */
const NAV = [
  ['runs', 'Runs', 'play', 'viewer'],
  ['playground', 'Playground', 'eye', 'user'],
  ['new', 'New job', 'plus', 'user'],
  ['datasets', 'Data', 'picture', 'viewer'],
  ['models', 'Models', 'cube', 'viewer'],
  ['workers', 'Workers', 'chip', 'viewer'],
  ['keys', 'Keys', 'key', 'admin'],
];

/** Pages are read when they are first opened, or while there is nothing else to do. */
const PAGES = {
  /** @param {string[]} parts */
  runs: (parts) => (parts.length > 1 ? import('./pages/run.js') : import('./pages/runs.js')),
  compare: () => import('./pages/compare.js'),
  sweeps: () => import('./pages/sweeps.js'),
  versus: () => import('./pages/versus.js'),
  playground: () => import('./pages/playground.js'),
  new: () => import('./pages/new_job.js'),
  datasets: () => import('./pages/datasets.js'),
  models: () => import('./pages/models.js'),
  workers: () => import('./pages/workers.js'),
  keys: () => import('./pages/keys.js'),
};

/** Pages below that of runs. */
const OF_RUNS = ['compare', 'sweeps', 'versus'];

/**
 * @typedef {keyof typeof PAGES} PageName
 * @typedef {{ key?: string, Page?: (props: PageProps) => Child, error?: unknown }} Loaded
 */

/**
 * @param {string | undefined} name
 * @returns {name is PageName}
 */
const isPage = (name) => name !== undefined && Object.hasOwn(PAGES, name);

function LinkState() {
  return html`<span class=${`link-state ${connection.value}`} role="status" title="Connection to the server">
    <i></i>
    ${connection.value}
  </span>`;
}

function Offline() {
  const now = useNow();
  if (connection.value === 'live' || (online.value && connection.value !== 'offline')) return null;
  const wait = Math.max(0, Math.ceil((nextTry.value - now) / 1000));
  return html`<div class="offline-bar" role="alert">
    <${Icon} name="alert" />
    <span class="grow">Server unreachable. Showing the last known state; nothing is lost.</span>
    <span class="tabular">${wait > 0 ? `next try in ${wait} s` : 'trying …'}</span>
    <button class="small" onClick=${reconnect}>Try now</button>
  </div>`;
}

/** Who is signed in; where the server asks for no key, how that is changed. */
function Me() {
  const me = identity.value;
  if (!me) return null;
  if (me.key_id)
    return html`<p class="me" title=${`Signed in as ${me.key_name}: ${me.role}, project ${me.project}`}>
      <b>${me.key_name}</b>
      <small>${me.role} · ${me.project}</small>
    </p>`;
  return html`<p class="me">
    <b>No key needed</b>
    ${me.protectable && html`<small><a href="#/keys">Protect this server</a></small>`}
  </p>`;
}

function Page() {
  const { parts, query } = route.value;
  const name = isPage(parts[0]) ? parts[0] : 'runs';
  const key = name === 'runs' && parts.length > 1 ? 'run' : name;
  const [loaded, setLoaded] = useState(/** @type {Loaded} */ ({}));
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (parts[0] && !isPage(parts[0])) say(`There is no page “${parts[0]}”: these are the runs`, true);
  }, [parts[0]]);
  useEffect(() => {
    let stale = false;
    PAGES[name](parts).then(
      (module) => {
        if (!stale) setLoaded({ key, Page: module.default });
      },
      (error) => {
        console.warn(error);
        if (!stale) setLoaded({ key, error: new OfflineError() });
      },
    );
    return () => {
      stale = true;
    };
  }, [key]);
  // A page that could not be fetched comes with the server: browsers do not fetch its script a second time.
  const cameBack = useRef(0);
  useEffect(() => {
    if (loaded.error === undefined) cameBack.current = returns.value;
    else if (returns.value !== cameBack.current) location.reload();
  }, [loaded.error, returns.value]);
  const place = parts.slice(0, 2).join('/');
  useEffect(() => {
    // A new page begins at its top, for eyes and for screen readers.
    window.scrollTo(0, 0);
    if (main.current && document.activeElement !== document.body) main.current.focus({ preventScroll: true });
  }, [place]);
  return html`<main id="content" ref=${main} tabindex=${-1}>
    ${
      loaded.error !== undefined
        ? html`<${Failure} error=${loaded.error} again=${() => location.reload()} />`
        : loaded.Page && loaded.key === key
          ? html`<${loaded.Page} parts=${parts} query=${query} />`
          : html`<${Loading} height=${320} />`
    }
  </main>`;
}

function App() {
  if (locked.value)
    return html`
      <${SignIn} />
      <${News} />
    `;
  const nav = NAV.filter(([, , , role]) => refusal(role) === null);
  const current = route.value.parts[0] || 'runs';
  return html`
    <a
      class="skip"
      href="#content"
      onClick=${(e) => {
        e.preventDefault();
        document.getElementById('content')?.focus();
      }}
    >
      To the content
    </a>
    <${Offline} />
    <div class="frame">
      <header class="side">
        <a class="brand" href="#/"><img src=${new URL('../icon.svg', import.meta.url).pathname} alt="" />VGPO</a>
        <nav aria-label="Pages">
          ${nav.map(
            ([path, text, icon]) => html`<a
              key=${path}
              href=${`#/${path}`}
              aria-current=${(OF_RUNS.includes(current) ? 'runs' : current) === path ? 'page' : undefined}
            >
              <${Icon} name=${icon} />
              ${text}
            </a>`,
          )}
        </nav>
        <${Me} />
        <div class="foot">
          <${LinkState} />
          ${
            identity.value?.csrf &&
            html`<button class="icon" onClick=${() => attempt(signOut)} aria-label="Sign out" title="Sign out">
              <${Icon} name="leave" />
            </button>`
          }
          <a class="api" href="/docs" target="_blank" rel="noopener" title="The API of this server">API</a>
          <button
            class="icon"
            onClick=${toggleTheme}
            aria-label=${theme.value === 'dark' ? 'Light colours' : 'Dark colours'}
          >
            <${Icon} name=${theme.value === 'dark' ? 'sun' : 'moon'} />
          </button>
        </div>
      </header>
      <${Page} />
    </div>
    <${Questions} />
    <${News} />
  `;
}

const root = document.getElementById('app') ?? document.body;
root.replaceChildren();
// Who we are decides what there is to show; without an answer the page tells what it can.
await learn().catch(() => {});
render(html`<${App} />`, root);
if (!locked.value) {
  start();
  // So that a page opens too while the server is away.
  setTimeout(() => {
    for (const [name, read] of Object.entries(PAGES)) read([name, '']).catch(() => {});
    PAGES.runs(['runs']).catch(() => {});
  }, 2000);
}
