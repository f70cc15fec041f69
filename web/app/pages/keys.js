// API keys: who may come in, and what they may do.
import { html, useEffect, useState } from '../lib/html.js';
import { asError, faultsOf, identity, list, post, remove } from '../lib/api.js';
import { ago, moment } from '../lib/format.js';
import { attempt, confirm, sayCopied } from '../parts/ask.js';
import { Empty, Failure, Field, Loading, Select, useLoad, useNow } from '../parts/common.js';
import { Icon } from '../parts/icon.js';

/** @type {[role: Api['Role'], text: string][]} */
const ROLES = [
  ['viewer', 'viewer: reads its project'],
  ['user', 'user: works in its project'],
  ['admin', 'admin: everything, and keys'],
];

export default function Keys() {
  const [found, error, again] = useLoad((signal) => list('/v1/keys', { most: 1000, signal }), []);
  const [made, setMade] = useState(/** @type {Api['CreatedKey'] | null} */ (null));
  useEffect(() => {
    document.title = 'Keys · VGPO';
  }, []);
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
        : html`<${Create}
          done=${(/** @type {Api['CreatedKey']} */ key) => {
            setMade(key);
            again();
          }}
        />`
    }
    ${
      error && !found
        ? html`<${Failure} error=${error} again=${again} />`
        : !found
          ? html`<${Loading} what="Reading keys" height=${200} />`
          : found.length === 0
            ? html`<${Empty} icon="key" title="No keys yet">
              <p>
                Without a key, only this machine reaches the server. From the first key on, the server asks for one.
              </p>
            </${Empty}>`
            : html`<${Table} keys=${found} again=${again} />`
    }
  `;
}

/** @param {{ done: (key: Api['CreatedKey']) => void }} props */
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
      <button class="primary"><${Icon} name="plus" />Make a key</button>
    </div>
  </form>`;
}

/** @param {{ made: Api['CreatedKey'], done: () => void }} props */
function Secret({ made, done }) {
  return html`<section class="card" aria-label="The new key">
    <h2>${made.name}</h2>
    <p>Copy the secret now: it cannot be shown again.</p>
    <p><code class="secret">${made.secret}</code></p>
    <div class="row">
      <button class="primary" onClick=${() => sayCopied(made.secret ?? '', 'The secret')}>
        <${Icon} name="copy" />
        Copy
      </button>
      <button onClick=${done}>I have it</button>
    </div>
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
          ${['Name', 'Role', 'Project', 'Begins with', 'Made', 'Last used', ''].map(
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
            <td role="cell" data-label="Begins with"><code>vgpo_${key.prefix}</code></td>
            <td role="cell" data-label="Made">${moment(key.created_at)}</td>
            <td role="cell" data-label="Last used">${key.last_used_at ? ago(key.last_used_at, now) : 'never'}</td>
            <td role="cell" class="wide">
              ${
                key.revoked_at
                  ? html`<span class="muted">revoked ${moment(key.revoked_at)}</span>`
                  : html`<button class="small danger" onClick=${() => revoke(key, again)}>
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
 * @param {() => void} again
 */
async function revoke(key, again) {
  const own = key.id === identity.value?.key_id;
  const mine = own ? ' It is the key that you are signed in with.' : '';
  const text = `Whoever uses it is refused from now on, and its sessions end.${mine}`;
  const sure = await confirm({ title: `Revoke “${key.name}”?`, text, yes: 'Revoke it', danger: true });
  if (sure && (await attempt(() => remove('/v1/keys/{id}', { path: { id: key.id } }), 'Revoked'))) again();
}
