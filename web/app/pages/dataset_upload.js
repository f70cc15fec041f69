// The upload of a data set: files or a folder, how their columns are called, and what is held out.
import { html, useId, useRef, useState } from '../lib/html.js';
import { ApiError, asError, proof } from '../lib/api.js';
import { bytes } from '../lib/format.js';
import { numberOf } from '../lib/typed.js';
import { chosen, columnsOf, dropped, placed } from '../lib/upload_files.js';
import { attempt, say } from '../parts/ask.js';
import { Field, Progress, Select } from '../parts/common.js';
import { Icon } from '../parts/icon.js';

/** Makes an input take a folder with all that is in it. */
const FOLDER = /** @type {object} */ ({ webkitdirectory: true });

/** What a column is for. */
const ROLES = ['prompt', 'answer', 'images', 'demonstration', 'tags'];

/** How rows are parted. @type {[Api['SplitRule'], string][]} */
const SPLITS = [
  ['auto', 'auto: by column or file name, else by lot'],
  ['train', 'train: every row is trained on'],
  ['eval', 'eval: every row is held out'],
  ['held_out', 'held_out: by lot, whatever names say'],
];

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

/**
 * A name for the data set, from its first file or folder.
 * @param {import('../lib/upload_files.js').Picked[]} picked
 */
const nameOf = (picked) =>
  (picked[0]?.folder || picked[0]?.path.split('/')[0] || '')
    .replace(/\.[^.]+$/, '')
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, '-');

/** @param {{ done: () => void }} props */
export function Upload({ done }) {
  const [files, setFiles] = useState(/** @type {import('../lib/upload_files.js').Picked[]} */ ([]));
  const [moved, setMoved] = useState(0);
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  const [columns, setColumns] = useState(/** @type {Record<string, string>} */ ({}));
  const [known, setKnown] = useState(/** @type {Awaited<ReturnType<typeof columnsOf>>} */ (null));
  const [split, setSplit] = useState(/** @type {Api['SplitRule']} */ ('auto'));
  const [splitColumn, setSplitColumn] = useState('');
  const [share, setShare] = useState('');
  const [leaveOut, setLeaveOut] = useState(false);
  const columnList = useId();
  const [part, setPart] = useState(/** @type {[share: number, loaded: number] | null} */ (null));
  const [over, setOver] = useState(false);
  const single = useRef(/** @type {HTMLInputElement | null} */ (null));
  const folder = useRef(/** @type {HTMLInputElement | null} */ (null));
  const heldOut = share.trim() === '' ? { value: undefined } : numberOf(share);
  const wrong = heldOut.wrong ?? (heldOut.value < 0 || heldOut.value > 1 ? 'Must be from 0 to 1.' : undefined);
  /** @param {Promise<import('../lib/upload_files.js').Picked[]> | import('../lib/upload_files.js').Picked[]} some */
  const take = async (some) => {
    try {
      const all = await some;
      const found = await placed(all);
      setFiles(found.picked);
      setMoved(found.moved);
      setKnown(await columnsOf(found.picked));
      if (!name) setName(nameOf(all));
    } catch (error) {
      say(`These files cannot be read: ${asError(error).message}`, true);
    }
  };
  /** @param {Event} event */
  const upload = async (event) => {
    event.preventDefault();
    const form = new FormData();
    form.append('name', name);
    if (description.trim()) form.append('description', description.trim());
    const renamed = Object.entries(columns).filter(([, column]) => column.trim());
    if (renamed.length > 0) form.append('columns', JSON.stringify(Object.fromEntries(renamed)));
    if (split !== 'auto') form.append('split', split);
    if (splitColumn.trim()) form.append('split_column', splitColumn.trim());
    if (heldOut.value !== undefined) form.append('eval_share', String(heldOut.value));
    if (leaveOut) form.append('bad_rows', 'leave_out');
    for (const { file, path } of files) form.append('file', file, path);
    setPart([0, 0]);
    const sent = await attempt(
      () => sendForm('/v1/datasets', form, (sentShare, loaded) => setPart([sentShare, loaded])),
      'Uploaded: its rows are being checked',
    );
    setPart(null);
    if (sent) {
      setFiles([]);
      setMoved(0);
      setName('');
      // What was said of these rows need not hold for the next ones.
      setDescription('');
      setColumns({});
      setKnown(null);
      setSplit('auto');
      setSplitColumn('');
      setShare('');
      setLeaveOut(false);
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
      if (e.dataTransfer?.files.length) take(dropped(e.dataTransfer));
      else say('Drop files, not text', true);
    }}
  >
    <div class="row">
      <div class="grow">
        <h2>Bring your own</h2>
        <p class="muted">
          JSON lines, Parquet or zip files, with the images that they name. Drop files or a folder here.
        </p>
      </div>
      <button type="button" onClick=${() => folder.current?.click()}><${Icon} name="upload" />Choose a folder</button>
      <button type="button" onClick=${() => single.current?.click()}><${Icon} name="file" />Choose files</button>
      <input
        ref=${folder}
        type="file"
        ...${FOLDER}
        hidden
        aria-label="Folder of the data set"
        onChange=${(e) => take(chosen(e.currentTarget.files))}
      />
      <input
        ref=${single}
        type="file"
        multiple
        hidden
        aria-label="Files of the data set"
        accept=".jsonl,.json,.parquet,.zip,image/*"
        onChange=${(e) => take(chosen(e.currentTarget.files))}
      />
    </div>
    ${
      files.length > 0 &&
      html`
        ${
          moved > 0 &&
          html`<p class="notice warn" role="status">
            ${moved} ${moved === 1 ? 'image was' : 'images were'} chosen without a folder and will be sent under the
            path by which the rows name ${moved === 1 ? 'it' : 'them'}.
          </p>`
        }
        <div class="row">
          <${Field} label="Name">
            ${(/** @type {FieldAttributes} */ a) => html`<input
              ...${a}
              required
              value=${name}
              onInput=${(e) => setName(e.currentTarget.value)}
            />`}
          </${Field}>
          <span class="grow muted">
            ${files.length === 1 ? files[0].path : `${files.length} files`},${' '}
            ${bytes(files.reduce((sum, one) => sum + one.file.size, 0))}
          </span>
          <label class="inline" title="Otherwise one bad row makes the whole data set invalid">
            <input type="checkbox" checked=${leaveOut} onChange=${() => setLeaveOut(!leaveOut)} />
            leave bad rows out
          </label>
          <button class="primary" disabled=${!name || part !== null || wrong !== undefined}>Upload</button>
        </div>
        <details>
          <summary>Columns, held-out rows, description</summary>
          ${
            known &&
            html`<p class="small-text">
              Columns of ${known.file}: ${known.columns.map((one) => html`<code key=${one}>${one}</code>${' '}`)}
            </p>`
          }
          <datalist id=${columnList}>${known?.columns.map((one) => html`<option value=${one}></option>`)}</datalist>
          <div class="fields" style=${{ marginTop: '10px' }}>
            ${ROLES.map(
              (role) => html`<${Field} key=${role} label=${`Column of the ${role}`}>
                ${(/** @type {FieldAttributes} */ a) => html`<input
                  ...${a}
                  list=${columnList}
                  placeholder="found by its name"
                  value=${columns[role] ?? ''}
                  onInput=${(e) => setColumns({ ...columns, [role]: e.currentTarget.value })}
                />`}
              </${Field}>`,
            )}
            <${Select} label="Held-out rows" value=${split} options=${SPLITS} onChange=${setSplit} />
            <${Field} label="Column of the split">
              ${(/** @type {FieldAttributes} */ a) => html`<input
                ...${a}
                list=${columnList}
                placeholder="split"
                value=${splitColumn}
                onInput=${(e) => setSplitColumn(e.currentTarget.value)}
              />`}
            </${Field}>
            <${Field} label="Held-out share" help="0 to 1; used where nothing else defines the split" wrong=${wrong}>
              ${(/** @type {FieldAttributes} */ a) => html`<input
                ...${a}
                inputmode="decimal"
                placeholder="default"
                value=${share}
                onInput=${(e) => setShare(e.currentTarget.value)}
              />`}
            </${Field}>
            <${Field} label="Description">
              ${(/** @type {FieldAttributes} */ a) => html`<input
                ...${a}
                value=${description}
                onInput=${(e) => setDescription(e.currentTarget.value)}
              />`}
            </${Field}>
          </div>
        </details>
      `
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
