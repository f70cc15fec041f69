// API keys: who may come in, and what they may do.
import { html, useEffect, useState } from '../lib/html.js';
import { asError, faultsOf, identity, list, post, remove } from '../lib/api.js';
import { ago, moment } from '../lib/format.js';
import { protect, refusal } from '../lib/session.js';
import { attempt, confirm, sayCopied } from '../parts/ask.js';
import { Denied, Empty, Failure, Field, Loading, Select, useLoad, useNow } from '../parts/common.js';
import { Icon } from '../parts/icon.js';

/** @type {[role: Api['Role'], text: string][]} */
const ROLES = [
  ['viewer', 'viewer: reads its project'],
  ['user', 'user: works in its project'],
  ['admin', 'admin: everything, and keys'],
];

export default function Keys() {
  const why = refusal('admin');
  useEffect(() => {
    document.title = 'Keys · VGPO';
  }, []);
  return why === null ? html`<${KeysOfAll} />` : html`<${Denied} title="Only admins manage keys" why=${why} />`;
}

function KeysOfAll() {
  const [found, error, again] = useLoad((signal) => list('/v1/keys', { most: 1000, signal }), []);
  const [made, setMade] = useState(/** @type {Made | null} */ (null));
  const first = found?.length === 0 && identity.value?.protectable === true;
  /** @param {Made} key */
  const done = (key) => {
    setMade(key);
    again();
  };
  return html`
    <div class="head">
      <div class="grow">
        <h1>Keys</h1>
        <p class="lead">A key opens the API and this dashboard. Its secret is shown once.</p>
      </div>
    </div>
    ${
      made
        ? html`<${Secret} made=${made} done=${() => setMade(null)} />`
        : first
          ? html`<${Protect} done=${done} />`
          : found && html`<${Create} done=${done} />`
    }
    ${
      error && !found
        ? html`<${Failure} error=${error} again=${again} />`
        : !found
          ? html`<${Loading} what="Reading keys" height=${200} />`
          : found.length === 0
            ? !first && html`<${Empty} icon="key" title="No keys yet" />`
            : html`<${Table} keys=${found} again=${again} />`
    }
  `;
}

/** @typedef {Api['CreatedKey'] & { fault?: unknown }} Made */

/**
 * The way from a server that is open to whoever reaches it to one that asks for keys.
 * @param {{ done: (key: Made) => void }} props
 */
function Protect({ done }) {
  const [name, setName] = useState('');
  const [wrong, setWrong] = useState(/** @type {string | null} */ (null));
  const [busy, setBusy] = useState(false);
  /** @param {Event} event */
  const create = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      done(await protect(name.trim()));
    } catch (error) {
      setWrong(faultsOf(error)[0]?.detail ?? asError(error).message);
      setBusy(false);
    }
  };
  return html`<section class="card" aria-label="Protect this server">
    <h2>Protect this server</h2>
    <p>
      At the moment this server asks for no key: whoever reaches it from this machine is an admin. It asks for keys
      from the first one on.
    </p>
    <ol class="guide">
      <li>Create the first key, for yourself: an admin key, which can do everything and create other keys.</li>
      <li>Copy its secret when it is shown, and keep it safe. This browser is signed in with it right away.</li>
      <li>Create a key for each person and program, with the role that it needs.</li>
    </ol>
    <form class="row key-form" onSubmit=${create} aria-label="First key">
      <${Field} label="Your name" wrong=${wrong}>
        ${(/** @type {FieldAttributes} */ attributes) => html`<input
          ...${attributes}
          value=${name}
          onInput=${(e) => {
            setName(e.currentTarget.value);
            setWrong(null);
          }}
          placeholder="Ada"
          maxlength=${200}
          required
        />`}
      </${Field}>
      <button class="primary" disabled=${busy}><${Icon} name="key" />Create the admin key</button>
    </form>
  </section>`;
}

/** @param {{ done: (key: Made) => void }} props */
function Create({ done }) {
  const [name, setName] = useState('');
  const [role, setRole] = useState(/** @type {Api['Role']} */ ('user'));
  const [project, setProject] = useState('default');
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  /** @param {Event} event */
  const create = async (event) => {
    event.preventDefault();
    try {
      done(await post('/v1/keys', { name: name.trim() || null, role, project: project.trim() }));
    } catch (error) {
      const faults = faultsOf(error);
      setWrong(
        faults.length > 0
          ? Object.fromEntries(faults.map((f) => [f.pointer, f.detail]))
          : { '/name': asError(error).message },
      );
    }
  };
  return html`<form class="card" onSubmit=${create} aria-label="New key">
    <div class="row key-form">
      <${Field} label="What it is for" wrong=${wrong['/name']}>
        ${(/** @type {FieldAttributes} */ attributes) => html`<input
          ...${attributes}
          value=${name}
          onInput=${(e) => setName(e.currentTarget.value)}
          placeholder="CI of team vision"
        />`}
      </${Field}>
      <${Select} label="Role" value=${role} onChange=${setRole} options=${ROLES} />
      <${Field} label="Project" wrong=${wrong['/project']}>
        ${(/** @type {FieldAttributes} */ attributes) =>
          html`<input
            ...${attributes}
            value=${project}
            onInput=${(e) => setProject(e.currentTarget.value)}
            required
          />`}
      </${Field}>
      <button class="primary"><${Icon} name="plus" />Create key</button>
    </div>
  </form>`;
}

/** @param {{ made: Made, done: () => void }} props */
function Secret({ made, done }) {
  return html`<section class="card" aria-label="The new key">
    <h2>${made.name}</h2>
    <p>Copy the secret now: you won’t be able to see it again.</p>
    <p><code class="secret">${made.secret}</code></p>
    <div class="row">
      <button class="primary" onClick=${() => sayCopied(made.secret ?? '', 'The secret')}>
        <${Icon} name="copy" />
        Copy
      </button>
      <button onClick=${done}>Done</button>
    </div>
    ${
      made.fault !== undefined
        ? html`<p class="notice bad" role="alert">
          This browser could not be signed in: ${asError(made.fault).message}. Reload the page and sign in with the key.
        </p>`
        : made.id === identity.value?.key_id &&
          html`<p class="muted">This browser is signed in with it. The server asks everybody else for a key now.</p>`
    }
  </section>`;
}

/** @param {{ keys: Api['ApiKey'][], again: () => void }} props */
function Table({ keys, again }) {
  const now = useNow(30_000);
  return html`<div class="card scroll">
    <table class="stacked" role="table">
      <caption class="sr">Keys, newest first</caption>
      <thead role="rowgroup">
        <tr role="row">
          ${['Name', 'Role', 'Project', 'Prefix', 'Created', 'Last used', ''].map(
            (text) => html`<th role="columnheader" scope="col">
              ${text || html`<span class="sr">Actions</span>`}
            </th>`,
          )}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${keys.map(
          (key) => html`<tr role="row" key=${key.id}>
            <th role="rowheader" scope="row">${key.name}</th>
            <td role="cell" data-label="Role">${key.role}</td>
            <td role="cell" data-label="Project">${key.project}</td>
            <td role="cell" data-label="Prefix"><code>vgpo_${key.prefix}</code></td>
            <td role="cell" data-label="Created">${moment(key.created_at)}</td>
            <td role="cell" data-label="Last used">${key.last_used_at ? ago(key.last_used_at, now) : 'never'}</td>
            <td role="cell" class="wide">
              ${
                key.revoked_at
                  ? html`<span class="muted">revoked ${moment(key.revoked_at)}</span>`
                  : html`<button class="small danger" onClick=${() => revoke(key, keys, again)}>
                    <${Icon} name="trash" />
                    Revoke
                  </button>`
              }
            </td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/**
 * @param {Api['ApiKey']} key
 * @param {Api['ApiKey'][]} keys
 * @param {() => void} again
 */
async function revoke(key, keys, again) {
  const admins = keys.filter(({ role, revoked_at: at }) => role === 'admin' && !at);
  const text = [
    'Whoever uses it is refused from now on, and its sessions end.',
    key.id === identity.value?.key_id ? 'It is the key that you are signed in with.' : '',
    admins.length === 1 && admins[0].id === key.id
      ? 'It is the last admin key: only `vgpo keys create`, run where the data folder is, can create another.'
      : '',
  ];
  const title = `Revoke “${key.name}”?`;
  const sure = await confirm({ title, text: text.filter(Boolean).join(' '), yes: 'Revoke', danger: true });
  if (sure && (await attempt(() => remove('/v1/keys/{id}', { path: { id: key.id } }), 'Revoked'))) again();
}
