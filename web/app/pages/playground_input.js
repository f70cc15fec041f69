// The image of a question: an example of a data set, a file, or a drawing.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { asError, get, list } from '../lib/api.js';
import { fitting } from '../lib/models.js';
import { Segmented, useLoad } from '../parts/common.js';
import { DrawPad } from '../parts/draw_pad.js';
import { say } from '../parts/ask.js';
import { Icon } from '../parts/icon.js';

/**
 * @typedef {ReturnType<typeof import('../lib/models.js').origin>} About
 * @typedef {(picture: string | null, question: string, answer: string) => void} Take
 */

/**
 * @param {File} file
 * @returns {Promise<string>}
 */
const readFile = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

/**
 * Where the image comes from: an example, a file (dropped, pasted or chosen), or the pad.
 * @param {{
 *   image: string | null, size: [width: number, height: number] | undefined, about: About, take: Take,
 *   setImage: (picture: string | null) => void,
 * }} props
 */
export function ImageInput({ image, size, about, take, setImage }) {
  const [way, setWay] = useState(/** @type {'example' | 'file' | 'draw'} */ ('example'));
  const [over, setOver] = useState(false);
  const file = useRef(/** @type {HTMLInputElement | null} */ (null));
  /** @param {FileList | null | undefined} files */
  const load = async (files) => {
    const picture = [...(files ?? [])].find((one) => one.type.startsWith('image/'));
    if (!picture) {
      say('That file is not an image', true);
      return;
    }
    setImage(await readFile(picture));
    setWay('file');
  };
  useEffect(() => {
    /** @param {ClipboardEvent} event */
    const paste = (event) => {
      const files = event.clipboardData?.files;
      if (!files?.length) return;
      event.preventDefault();
      load(files);
    };
    document.addEventListener('paste', paste);
    return () => document.removeEventListener('paste', paste);
  });
  /** @param {DragEvent} event */
  const drag = (event) => {
    event.preventDefault();
    setOver(true);
  };
  return html`<div
    class=${`drop ${over ? 'over' : ''}`}
    onDragOver=${drag}
    onDragLeave=${() => setOver(false)}
    onDrop=${(event) => {
      event.preventDefault();
      setOver(false);
      load(event.dataTransfer?.files);
    }}
  >
    <${Segmented}
      label="Image"
      value=${way}
      onChange=${setWay}
      options=${[
        ['example', 'Example'],
        ['file', 'Your image'],
        ['draw', 'Draw'],
      ]}
    />
    ${way === 'example' && html`<${Examples} about=${about} image=${image} take=${take} />`}
    ${way === 'draw' && html`<${DrawPad} size=${size} guides=${size ? 2 : 1} onDraw=${setImage} />`}
    ${
      way === 'file' &&
      html`<div class="drop-here">
        ${
          image
            ? html`<img src=${image} alt="The image that is asked about" />`
            : html`<p class="muted">Drop or paste an image here</p>`
        }
        <button type="button" onClick=${() => file.current?.click()}><${Icon} name="upload" />Choose an image</button>
        <input
          ref=${file}
          type="file"
          accept="image/*"
          aria-label="Image file"
          hidden
          onChange=${(e) => load(e.currentTarget.files)}
        />
      </div>`
    }
    <span class="sr" role="status">${image ? 'An image is set.' : 'No image yet.'}</span>
  </div>`;
}

/**
 * Rows to try: held-out ones where there are some.
 * @param {Api['DatasetEntry']} entry
 * @param {{ limit: number, after: number, images?: string }} asked
 * @param {AbortSignal} [signal]
 */
async function rowsOf(entry, asked, signal) {
  const query = { split: entry.eval_rows > 0 ? 'eval' : 'train', ...asked };
  return (await get('/v1/datasets/{id}/rows', { path: { id: entry.name }, query, signal })).data;
}

/**
 * The image of a row as a job reads it; a list of rows holds small ones only.
 * @param {Api['DatasetEntry']} entry
 * @param {Api['PreviewRow']} row
 */
async function pictureOf(entry, { row, images: [image] }) {
  if (!image) return null;
  const [whole] = await rowsOf(entry, { limit: 1, after: row, images: 'full' });
  return whole.images[0].picture ?? null;
}

/** @param {{ about: About, image: string | null, take: Take }} props */
function Examples({ about, image, take }) {
  const [sets] = useLoad(
    async (signal) => (await list('/v1/datasets', { signal })).filter((d) => d.state === 'ready'),
    [],
  );
  const [chosen, setChosen] = useState(/** @type {string | null} */ (null));
  const [offset, setOffset] = useState(0);
  const [chosenRow, setChosenRow] = useState(/** @type {number | null} */ (null));
  const [busy, setBusy] = useState(/** @type {number | null} */ (null));
  const dataset = chosen ?? about.dataset ?? fitting(about.model, sets ?? [])?.name;
  const entry = sets?.find((d) => d.name === dataset || d.id === dataset);
  const [found, error] = useLoad(
    async (signal) =>
      entry ? { of: entry.name, rows: await rowsOf(entry, { limit: 8, after: offset }, signal) } : null,
    [entry?.name, offset],
  );
  // Rows of the set before are gone at once: their questions do not belong to pictures of this one.
  const rows = found?.of === entry?.name ? found?.rows : null;
  const opened = useRef(false);
  useEffect(() => {
    // The page opens on an example, so that there is something to see at once.
    if (opened.current || image || !rows?.length) return;
    opened.current = true;
    const row = rows.find((one) => one.images.length > 0) ?? rows[0];
    chooseRow(row);
  }, [rows]);
  /** @param {Api['PreviewRow']} row */
  const chooseRow = async (row) => {
    if (!entry) return;
    setBusy(row.row);
    try {
      take(await pictureOf(entry, row), row.prompt.replaceAll('<image>', '').trim(), row.answer);
      setChosenRow(row.row);
    } catch (fault) {
      say(`The example cannot be read: ${asError(fault).message}`, true);
    }
    setBusy(null);
  };
  if (error) return html`<p class="notice warn">No examples: ${asError(error).message}</p>`;
  if (sets && sets.length === 0) return html`<p class="muted">There are no data sets to take examples from.</p>`;
  return html`
    <div class="examples">
      ${(rows || []).map(
        (row) => html`<button
          type="button"
          key=${row.row}
          aria-pressed=${row.row === chosenRow}
          aria-busy=${row.row === busy}
          title=${`${row.prompt} (row ${row.row})`}
          onClick=${() => chooseRow(row)}
        >
          ${
            row.images[0]
              ? html`<img src=${row.images[0].thumbnail} alt=${`Example ${row.row}: ${row.prompt}`} />`
              : row.prompt
          }
        </button>`,
      )}
    </div>
    <div class="row between">
      <select
        aria-label="Data set of the examples"
        onChange=${(e) => {
          setChosen(e.currentTarget.value);
          setChosenRow(null);
          setOffset(0);
        }}
      >
        ${(sets || []).map((d) => html`<option value=${d.name} selected=${d === entry}>${d.name}</option>`)}
      </select>
      <span class="row">
        <button
          type="button"
          class="icon"
          aria-label="Examples before"
          disabled=${offset === 0}
          onClick=${() => setOffset(Math.max(0, offset - 8))}
        >
          <${Icon} name="left" />
        </button>
        <button type="button" class="icon" aria-label="More examples" onClick=${() => setOffset(offset + 8)}>
          <${Icon} name="right" />
        </button>
      </span>
    </div>
  `;
}
