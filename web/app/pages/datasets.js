// Data sets: what there is, a look inside, and uploads with progress.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { ApiError, list, proof, remove } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { bytes, count, moment } from '../lib/format.js';
import { href } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { attempt, confirm, say } from '../parts/ask.js';
import { Badge, Empty, Failure, Field, Loading, Progress, useLoad } from '../parts/common.js';
import { Rows } from '../parts/rows.js';
import { Icon } from '../parts/icon.js';

/** @param {PageProps} props */
export default function Datasets({ parts }) {
  const [found, error, again] = useLoad((signal) => list('/v1/datasets', { most: 1000, signal }), [epoch.value]);
  useEffect(() => {
    document.title = 'Data · VGPO';
    return listen(({ kind }) => {
      if (kind === 'dataset') again();
    });
  }, []);
  const chosen = found?.find((d) => d.name === parts[1] || d.id === parts[1]);
  return html`
    <div class="head">
      <div class="grow">
        <h1>Data sets</h1>
        <p class="lead">Questions about images with answers that can be checked.</p>
      </div>
    </div>
    ${refusal() === null && html`<${Upload} done=${again} />`}
    ${
      error && !found
        ? html`<${Failure} error=${error} again=${again} />`
        : !found
          ? html`<${Loading} what="Reading data sets" height=${200} />`
          : found.length === 0
            ? html`<${Empty} icon="file" title="No data sets yet" />`
            : html`<ul class="cards">
              ${found.map((one) => html`<${Entry} key=${one.id} one=${one} open=${one === chosen} again=${again} />`)}
            </ul>`
    }
  `;
}

/** @param {{ one: Api['DatasetEntry'], open: boolean, again: () => void }} props */
function Entry({ one, open, again }) {
  const drop = async () => {
    const sure = await confirm({
      title: `Delete “${one.name}”?`,
      text: 'Its rows and images will be permanently deleted. Runs that used it keep their results.',
      yes: 'Delete',
      danger: true,
    });
    if (sure && (await attempt(() => remove('/v1/datasets/{id}', { path: { id: one.id } }), 'Deleted'))) again();
  };
  const { description } = /** @type {{ description?: string }} */ (one.card ?? {});
  const { report } = one;
  const faults = report?.errors ?? [];
  return html`<li class=${`card ${open ? 'wide-card' : ''}`}>
    <div class="row">
      <h2 class="grow"><a href=${href(open ? ['datasets'] : ['datasets', one.name])}>${one.name}</a></h2>
      <${Badge} state=${one.state} />
    </div>
    ${description && html`<p class="muted">${description}</p>`}
    <dl class="kv">
      <dt>Rows</dt>
      <dd>${count(one.train_rows)} to train on, ${count(one.eval_rows)} held out</dd>
      <dt>From</dt>
      <dd>${one.source}, ${moment(one.created_at)}</dd>
    </dl>
    ${
      one.state === 'invalid' &&
      faults.length > 0 &&
      html`<div class="notice bad">
        <ul>
          ${faults.slice(0, 5).map(
            ({ file, row, problem }) => html`<li>
              ${[file, row && `row ${row}`].filter(Boolean).join(', ')}
              ${file ? ': ' : ''}
              ${problem}
            </li>`,
          )}
        </ul>
        ${
          report &&
          report.bad_rows > 5 &&
          html`<p>${count(report.bad_rows)} of ${count(report.rows)} rows cannot be used.</p>`
        }
      </div>`
    }
    <div class="row">
      ${
        one.state === 'ready' &&
        html`
          <a class="button small" href=${href(open ? ['datasets'] : ['datasets', one.name])}>
            ${open ? 'Close' : 'Look inside'}
          </a>
          ${
            refusal() === null &&
            html`<a class="button small" href=${href(['new'], { dataset: one.name })}>
              <${Icon} name="plus" />
              Train on it
            </a>`
          }
        `
      }
      ${
        one.source !== 'builtin' &&
        refusal('user', one.project) === null &&
        html`<button class="small danger" onClick=${drop}><${Icon} name="trash" />Delete</button>`
      }
    </div>
    ${open && html`<${Rows} dataset=${one.name} />`}
  </li>`;
}

/**
 * Sends a form and tells how much has gone; fetch cannot.
 * @param {string} url
 * @param {FormData} form
 * @param {(share: number, loaded: number) => void} onPart
 * @returns {Promise<unknown>}
 */
function sendForm(url, form, onPart) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', url);
    request.setRequestHeader('accept', 'application/json');
    for (const [name, value] of Object.entries(proof())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) onPart(event.loaded / event.total, event.loaded);
    };
    request.onload = () => {
      let body = {};
      try {
        body = JSON.parse(request.responseText);
      } catch {
        /* the status has to do */
      }
      if (request.status < 300) resolve(body);
      else reject(new ApiError(request.status, body));
    };
    request.onerror = () => reject(new Error('The connection broke while sending.'));
    request.send(form);
  });
}

/** @param {{ done: () => void }} props */
function Upload({ done }) {
  const [files, setFiles] = useState(/** @type {File[]} */ ([]));
  const [name, setName] = useState('');
  const [part, setPart] = useState(/** @type {[share: number, loaded: number] | null} */ (null));
  const [over, setOver] = useState(false);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  /** @param {FileList | null | undefined} list */
  const take = (list) => {
    const all = [...(list ?? [])];
    setFiles(all);
    if (!name && all[0])
      setName(
        all[0].name
          .replace(/\.[^.]+$/, '')
          .toLowerCase()
          .replace(/[^a-z0-9_-]+/g, '-'),
      );
  };
  /** @param {Event} event */
  const upload = async (event) => {
    event.preventDefault();
    const form = new FormData();
    form.append('name', name);
    for (const file of files) form.append('file', file, file.webkitRelativePath || file.name);
    setPart([0, 0]);
    const sent = await attempt(
      () => sendForm('/v1/datasets', form, (share, loaded) => setPart([share, loaded])),
      'Uploaded: its rows are being checked',
    );
    setPart(null);
    if (sent) {
      setFiles([]);
      setName('');
      done();
    }
  };
  return html`<form
    class=${`card drop upload ${over ? 'over' : ''}`}
    onSubmit=${upload}
    onDragOver=${(e) => {
      e.preventDefault();
      setOver(true);
    }}
    onDragLeave=${() => setOver(false)}
    onDrop=${(e) => {
      e.preventDefault();
      setOver(false);
      if (e.dataTransfer?.files.length) take(e.dataTransfer.files);
      else say('Drop files, not text', true);
    }}
  >
    <div class="row">
      <div class="grow">
        <h2>Bring your own</h2>
        <p class="muted">JSON lines, Parquet or zip files, together with their pictures. Drop them here.</p>
      </div>
      <button type="button" onClick=${() => input.current?.click()}><${Icon} name="upload" />Choose files</button>
      <input
        ref=${input}
        type="file"
        multiple
        hidden
        aria-label="Files of the data set"
        accept=".jsonl,.json,.parquet,.zip,image/*"
        onChange=${(e) => take(e.currentTarget.files)}
      />
    </div>
    ${
      files.length > 0 &&
      html`<div class="row">
        <${Field} label="Name">
          ${(/** @type {FieldAttributes} */ a) => html`<input
            ...${a}
            required
            value=${name}
            onInput=${(e) => setName(e.currentTarget.value)}
          />`}
        </${Field}>
        <span class="grow muted">
          ${files.length === 1 ? files[0].name : `${files.length} files`},${' '}
          ${bytes(files.reduce((sum, f) => sum + f.size, 0))}
        </span>
        <button class="primary" disabled=${!name || part !== null}>Upload</button>
      </div>`
    }
    ${
      part &&
      html`
        <${Progress} value=${part[0]} label="Upload" />
        <p class="muted small-text tabular">${bytes(part[1])} sent</p>
      `
    }
  </form>`;
}
