// Models that can be trained and asked, how more come in, and every checkpoint.
import { html, useEffect, useState } from '../lib/html.js';
import { asError, can, faultsOf, get, post, remove } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { bytes, count, percent } from '../lib/format.js';
import { href } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { attempt, confirm, say } from '../parts/ask.js';
import { Badge, Empty, Failure, Field, Loading, Progress, Segmented, useLoad } from '../parts/common.js';
import { Checkpoints } from '../parts/checkpoints.js';
import { Icon } from '../parts/icon.js';

export default function Models() {
  const [found, error, again] = useLoad(async (signal) => (await get('/v1/models', { signal })).data, [epoch.value]);
  const [coming, setComing] = useState(/** @type {Record<string, Api['DownloadProgress'] | null | undefined>} */ ({}));
  useEffect(() => {
    document.title = 'Models · VGPO';
    return listen((event) => {
      if (event.kind !== 'model') return;
      const { data } = event;
      // A download reports often; only a new state needs the list to be read again.
      setComing((old) => ({ ...old, [data.model]: data.progress }));
      if (!data.progress) again();
    });
  }, []);
  return html`
    <div class="head">
      <div class="grow"><h1>Models</h1><p class="lead">Models you can train and query.</p></div>
    </div>
    ${refusal() === null && can('post', '/v1/models') && html`<${Register} done=${again} />`}
    ${
      error && !found
        ? html`<${Failure} error=${error} again=${again} />`
        : !found
          ? html`<${Loading} what="Reading models" height=${200} />`
          : found.length === 0
            ? html`<${Empty} icon="star" title="No models yet">
              <p>Register a folder in Hugging Face layout.</p>
            </${Empty}>`
            : html`<ul class="cards">
              ${found.map(
                (model) => html`<${ModelCard}
                  key=${model.id}
                  model=${model}
                  progress=${coming[model.id] ?? model.progress}
                  again=${again}
                />`,
              )}
            </ul>`
    }
    <section class="section" aria-label="Checkpoints">
      <div class="title"><h2>Checkpoints</h2><p class="muted">Of all runs, newest first.</p></div>
      <${Checkpoints} />
    </section>
  `;
}

/**
 * @param {{
 *   model: Api['ModelEntry'], progress: Api['DownloadProgress'] | null | undefined, again: () => void,
 * }} props
 */
function ModelCard({ model, progress, again }) {
  const card = /** @type {Card} */ (model.card ?? {});
  const ready = model.state === 'ready';
  const served = model.source.startsWith('ckpt_');
  const drop = async () => {
    const sure = await confirm({
      title: served ? `Stop serving “${model.id}”?` : `Remove “${model.id}”?`,
      text: `Jobs and requests can no longer name it. ${served ? 'The checkpoint stays.' : 'Its files stay.'}`,
      yes: served ? 'Stop serving' : 'Remove',
      danger: true,
    });
    const takeOff = () =>
      served
        ? remove('/v1/checkpoints/{id}/promote', { path: { id: model.source } })
        : remove('/v1/models/{id}', { path: { id: model.id } });
    if (sure && (await attempt(takeOff, served ? 'No longer served' : 'Removed'))) again();
  };
  return html`<li class="card">
    <div class="row">
      <h2 class="grow">${served ? model.id : card.title || model.id}</h2>
      ${ready ? html`<span class="tag">${model.family}</span>` : html`<${Badge} state=${model.state} />`}
    </div>
    ${model.trained && html`<p><${Trained} trained=${model.trained} /></p>`}
    ${!served && card.task && html`<p>${card.task}</p>`}
    ${!served && card.limits && html`<p class="muted small-text">${card.limits}</p>`}
    ${model.problem && html`<p class="notice bad">${model.problem}</p>`}
    ${
      model.state === 'downloading' &&
      progress &&
      html`
        <${Progress}
          value=${(progress.number - 1 + progress.bytes / (progress.size || 1)) / progress.files}
          label=${`Download of ${model.id}`}
        />
        <p class="muted small-text tabular">
          file ${progress.number} of ${progress.files}: ${progress.file}, ${bytes(progress.bytes)} of${' '}
          ${bytes(progress.size)}
        </p>
      `
    }
    <dl class="kv">
      <dt>Name</dt>
      <dd><code>${model.id}</code></dd>
      ${
        model.parameters > 0 &&
        html`
          <dt>Parameters</dt>
          <dd>${count(model.parameters)}</dd>
        `
      }
      <dt>From</dt>
      <dd>${model.source}</dd>
      ${
        card.license &&
        html`
          <dt>Licence</dt>
          <dd>${card.license}</dd>
        `
      }
    </dl>
    <div class="row">
      ${
        ready &&
        refusal() === null &&
        html`
          <a class="button small" href=${href(['playground'], { model: model.id })}>
            <${Icon} name="eye" />
            Open in playground
          </a>
          <a class="button small" href=${href(['new'], { model: model.id })}><${Icon} name="plus" />Fine-tune</a>
        `
      }
      ${
        model.source !== 'builtin' &&
        refusal('user', model.project) === null &&
        model.state !== 'downloading' &&
        html`<button class="small danger" onClick=${drop}>
          <${Icon} name=${served ? 'close' : 'trash'} />
          ${served ? 'Stop serving' : 'Remove'}
        </button>`
      }
    </div>
  </li>`;
}

/**
 * What a served checkpoint is: its own history, and not what is said of the model it began with.
 * @param {{ trained: Api['TrainedFrom'] }} props
 */
const Trained = ({ trained: { model, run_id: id, run, step, accuracy } }) => {
  const reached = typeof accuracy === 'number' ? `, ${percent(accuracy)} held-out accuracy` : '';
  return html`Trained from <b>${model}</b>, <a href=${href(['runs', id])}>${run}</a>${`, step ${step}${reached}`}`;
};

/**
 * A model from the hub or from a folder of the server.
 * @param {{ done: () => void }} props
 */
function Register({ done }) {
  const [kind, setKind] = useState(/** @type {'hub' | 'path'} */ ('hub'));
  const [place, setPlace] = useState('');
  const [name, setName] = useState('');
  const [wrong, setWrong] = useState(/** @type {{ name?: string, place?: string }} */ ({}));
  const [busy, setBusy] = useState(false);
  /** @param {Event} event */
  const add = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const model = await post('/v1/models', { name: name.trim() || null, source: { [kind]: place.trim() } });
      say(model.state === 'ready' ? `${model.id} is registered` : `${model.id} is on its way`);
      setPlace('');
      setName('');
      done();
    } catch (error) {
      const faults = faultsOf(error);
      setWrong(
        faults.length > 0
          ? Object.fromEntries(faults.map((f) => [f.pointer.startsWith('/name') ? 'name' : 'place', f.detail]))
          : { place: asError(error).message },
      );
    }
    setBusy(false);
  };
  const label = kind === 'hub' ? 'Repository of the hub' : 'Folder on the server';
  return html`<details class="card register">
    <summary>Add a model</summary>
    <form onSubmit=${add} aria-label="Add a model">
      <${Segmented}
        label="Where it is"
        value=${kind}
        onChange=${(/** @type {'hub' | 'path'} */ value) => {
          setKind(value);
          setWrong({});
        }}
        options=${[
          ['hub', 'Hugging Face hub'],
          ['path', 'Folder'],
        ]}
      />
      <div class="fields">
        <${Field} label=${label} wrong=${wrong.place}>
          ${(/** @type {FieldAttributes} */ a) => html`<input
            ...${a}
            required
            spellcheck=${false}
            value=${place}
            placeholder=${kind === 'hub' ? 'Qwen/Qwen2.5-VL-3B-Instruct' : '/models/mine'}
            onInput=${(e) => {
              setPlace(e.currentTarget.value);
              setWrong({});
            }}
          />`}
        </${Field}>
        <${Field} label="Name (defaults to the repository name)" wrong=${wrong.name}>
          ${(/** @type {FieldAttributes} */ a) => html`<input
            ...${a}
            spellcheck=${false}
            value=${name}
            onInput=${(e) => {
              setName(e.currentTarget.value);
              setWrong({});
            }}
          />`}
        </${Field}>
      </div>
      <div class="row">
        <button class="primary" disabled=${busy || !place.trim()}>
          <${Icon} name="download" />
          ${busy ? 'Adding …' : 'Add model'}
        </button>
      </div>
    </form>
  </details>`;
}
