// Ask a model about an image and watch where it looks.
import { html, useEffect, useMemo, useRef, useState } from '../lib/html.js';
import { get } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { Asking, requestOf } from '../lib/asking.js';
import { answerers, fitting, origin } from '../lib/models.js';
import { setQuery } from '../lib/router.js';
import { Failure, Field, Loading, Segmented, Select, useLoad } from '../parts/common.js';
import { DrawPad } from '../parts/draw_pad.js';
import { say } from '../parts/ask.js';
import { Icon } from '../parts/icon.js';
import { Answer } from './playground_answer.js';

/** Models up to this size answer at once when the page opens. */
const SMALL = 100_000_000;

export default function Playground({ query }) {
  const [found, error, again] = useLoad((signal) => answerers(signal), [epoch.value]);
  useEffect(() => { document.title = 'Playground · VGPO'; }, []);
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading the models" height=${400} />`;
  return html`<${Room} found=${found} query=${query} />`;
}

const readFile = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

function Room({ found, query }) {
  const name = query.model || found.models[0]?.id || '';
  const other = query.other || '';
  const about = origin(found, name);
  const card = about.model?.card ?? {};
  const size = card.accepts?.image_sizes?.[0];
  const [image, setImage] = useState(null);
  const [prompt, setPrompt] = useState(card.examples?.[0] ?? 'What is in this picture?');
  const [settings, setSettings] = useState({ temperature: 0, maxTokens: 64, seed: 1, source: 'attention', layers: 'mean' });
  const askings = useMemo(() => [new Asking(), new Asking()], []);
  const [truth, setTruth] = useState(null);
  const names = [name, ...(other && other !== name ? [other] : [])];
  const answers = useRef(null);
  const ask = (with_ = {}) => {
    const next = { prompt, image, ...settings, ...with_ };
    names.forEach((model, i) => askings[i].ask(requestOf({ model, ...next, images: next.image ? [next.image] : [] })));
  };
  /** On a phone the answer begins below the window. */
  const toAnswers = () => { if (answers.current.getBoundingClientRect().top > innerHeight * 0.8) answers.current.scrollIntoView({ block: 'start' }); };
  const take = (picture, question, answer) => {
    setImage(picture);
    setTruth(answer ?? null);
    if (question) setPrompt(question);
    if (question && (about.model?.parameters ?? Infinity) <= SMALL) ask({ image: picture, prompt: question });
  };
  // Another model or another kind of map answers the same question again.
  const first = useRef(true);
  useEffect(() => {
    if (first.current) { first.current = false; return; }
    if (image && askings[0].state.value.status !== 'idle') ask();
  }, [names.join(), settings.source, settings.layers]);
  useEffect(() => () => askings.forEach((one) => one.stop()), []);
  const set = (fields) => setSettings({ ...settings, ...fields });
  return html`
    <div class="head"><div class="grow"><h1>Playground</h1><p class="lead">Ask about an image and walk through the answer: the picture shows where the model looks for each token.</p></div></div>
    <div class="play">
      <section class="card stack play-ask" aria-label="Question">
        <div class="two"><${Select} label="Model" value=${name} options=${found.choices} onChange=${(value) => setQuery({ model: value })} />
          <${Select} label="Beside it" value=${other} options=${[['', 'nothing'], ...found.choices]} onChange=${(value) => setQuery({ other: value })} /></div>
        ${card.task && html`<details class="about"><summary>${card.title || about.model.id}: what it can do</summary><p>${card.task}</p>${card.limits && html`<p class="muted">${card.limits}</p>`}</details>`}
        <${ImageInput} image=${image} size=${size} about=${about} take=${take} setImage=${(picture) => { setImage(picture); setTruth(null); }} />
        <form class="stack" style=${{ gap: '8px' }} onSubmit=${(e) => { e.preventDefault(); ask(); toAnswers(); }}>
          <${Field} label="Question">${(attributes) => html`<textarea ...${attributes} rows="2" value=${prompt} onInput=${(e) => setPrompt(e.target.value)}
            onKeyDown=${(e) => { if (e.key === 'Enter' && !e.shiftKey) { e.preventDefault(); ask(); toAnswers(); } }}></textarea>`}</${Field}>
          ${card.examples?.length > 0 && html`<div class="row chips">${card.examples.map((text) => html`<button type="button" class="small" onClick=${() => { setPrompt(text); ask({ prompt: text }); }}>${text}</button>`)}</div>`}
          <div class="row"><button class="primary" type="submit" disabled=${!prompt.trim()}><${Icon} name="eye" />Ask</button>
            ${truth && html`<span class="muted small-text">ground truth of the example: <b class="mono">${truth}</b></span>`}</div></form>
        <${Sampling} settings=${settings} set=${set} />
      </section>
      <div ref=${answers} class=${`answers ${names.length > 1 ? 'two-answers' : ''}`}>${names.map((model, i) => html`<${Answer} key=${i} asking=${askings[i]} model=${model} image=${image}
        source=${settings.source} choices=${found.choices} alone=${names.length === 1} />`)}</div>
    </div>`;
}

/** `mean`, `last`, or layers by number, as people write them; undefined: not understood. */
function layersOf(text) {
  const word = text.trim();
  if (['mean', 'last'].includes(word)) return word;
  const numbers = word.split(/[\s,]+/).map(Number);
  return word && numbers.every((n) => Number.isInteger(n) && n >= 0) ? numbers : undefined;
}

const Sampling = ({ settings, set }) => html`<details><summary>Sampling and maps</summary><div class="two" style=${{ marginTop: '10px' }}>
  <${Field} label="Temperature" help="0 is greedy">${(a) => html`<input ...${a} type="number" min="0" max="2" step="0.1" value=${settings.temperature} onChange=${(e) => set({ temperature: Number(e.target.value) })} />`}</${Field}>
  <${Field} label="Most tokens">${(a) => html`<input ...${a} type="number" min="1" max="4096" value=${settings.maxTokens} onChange=${(e) => set({ maxTokens: Number(e.target.value) })} />`}</${Field}>
  <${Select} label="Maps show" value=${settings.source} onChange=${(source) => set({ source })} options=${[['attention', 'attention'], ['similarity', 'similarity']]} />
  <${LayerChoice} layers=${settings.layers} set=${(layers) => set({ layers })} /></div></details>`;

function LayerChoice({ layers, set }) {
  const [wrong, setWrong] = useState(false);
  const change = (text) => {
    const found = layersOf(text);
    setWrong(found === undefined);
    if (found !== undefined) set(found);
  };
  return html`<${Field} label="Layers" help="mean, last, or numbers from 0" wrong=${wrong && 'Write mean, last, or numbers with commas between'}>${(a) => html`<input ...${a} list="layer-choices" value=${String(layers)} onChange=${(e) => change(e.target.value)} />
    <datalist id="layer-choices"><option value="mean" /><option value="last" /><option value="0" /></datalist>`}</${Field}>`;
}

/** Where the image comes from: an example, a file (dropped, pasted or chosen), or the pad. */
function ImageInput({ image, size, about, take, setImage }) {
  const [way, setWay] = useState('example');
  const [over, setOver] = useState(false);
  const file = useRef(null);
  const load = async (files) => {
    const picture = [...files].find((one) => one.type.startsWith('image/'));
    if (!picture) { say('That is no picture', true); return; }
    setImage(await readFile(picture));
    setWay('file');
  };
  useEffect(() => {
    const paste = (event) => { if (event.clipboardData.files.length > 0) { event.preventDefault(); load(event.clipboardData.files); } };
    document.addEventListener('paste', paste);
    return () => document.removeEventListener('paste', paste);
  });
  const drag = (event) => { event.preventDefault(); setOver(true); };
  return html`<div class=${`drop ${over ? 'over' : ''}`} onDragOver=${drag} onDragLeave=${() => setOver(false)}
      onDrop=${(event) => { event.preventDefault(); setOver(false); load(event.dataTransfer.files); }}>
    <${Segmented} label="Image" value=${way} onChange=${setWay} options=${[['example', 'Example'], ['file', 'Your image'], ['draw', 'Draw']]} />
    ${way === 'example' && html`<${Examples} about=${about} image=${image} take=${take} />`}
    ${way === 'draw' && html`<${DrawPad} size=${size} guides=${size ? 2 : 1} onDraw=${setImage} />`}
    ${way === 'file' && html`<div class="drop-here">${image ? html`<img src=${image} alt="The image that is asked about" />` : html`<p class="muted">Drop or paste a picture here</p>`}
      <button type="button" onClick=${() => file.current.click()}><${Icon} name="upload" />Choose a picture</button>
      <input ref=${file} type="file" accept="image/*" aria-label="Picture file" hidden onChange=${(e) => load(e.target.files)} /></div>`}
    <span class="sr" role="status">${image ? 'An image is set.' : 'No image yet.'}</span></div>`;
}

/** Rows to try: held-out ones where there are some. */
const rowsOf = async (entry, asked, settings) => (
  await get(`/v1/datasets/${entry.name}/rows?split=${entry.eval_rows > 0 ? 'eval' : 'train'}&${asked}`, settings)).data;

/** The image of a row as a job reads it; a list of rows holds small ones only. */
async function pictureOf(entry, { row, images: [image] }) {
  if (!image) return null;
  const [whole] = await rowsOf(entry, `limit=1&after=${row}&images=full`);
  return whole.images[0].picture;
}

function Examples({ about, image, take }) {
  const [sets] = useLoad(async (signal) => (await get('/v1/datasets', { signal })).data.filter((d) => d.state === 'ready'), []);
  const [chosen, setChosen] = useState(null);
  const [offset, setOffset] = useState(0);
  const [chosenRow, setChosenRow] = useState(null);
  const [busy, setBusy] = useState(null);
  const dataset = chosen ?? about.dataset ?? fitting(about.model, sets ?? [])?.name;
  const entry = sets?.find((d) => d.name === dataset || d.id === dataset);
  const [found, error] = useLoad(async (signal) => (entry
    ? { of: entry.name, rows: await rowsOf(entry, `limit=8&after=${offset}`, { signal }) } : null), [entry?.name, offset]);
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
  const chooseRow = async (row) => {
    setBusy(row.row);
    try {
      take(await pictureOf(entry, row), row.prompt.replaceAll('<image>', '').trim(), row.answer);
      setChosenRow(row.row);
    } catch (fault) { say(`The example cannot be read: ${fault.message}`, true); }
    setBusy(null);
  };
  if (error) return html`<p class="notice warn">No examples: ${error.message}</p>`;
  if (sets && sets.length === 0) return html`<p class="muted">There are no data sets to take examples from.</p>`;
  return html`<div class="examples">${(rows || []).map((row) => html`<button type="button" key=${row.row} aria-pressed=${row.row === chosenRow} aria-busy=${row.row === busy} title=${`${row.prompt} (row ${row.row})`}
      onClick=${() => chooseRow(row)}>
      ${row.images[0] ? html`<img src=${row.images[0].thumbnail} alt=${`Example ${row.row}: ${row.prompt}`} />` : row.prompt}</button>`)}</div>
    <div class="row between"><select aria-label="Data set of the examples" onChange=${(e) => { setChosen(e.target.value); setChosenRow(null); setOffset(0); }}>${(sets || []).map((d) => html`<option value=${d.name} selected=${d === entry}>${d.name}</option>`)}</select>
      <span class="row"><button type="button" class="icon" aria-label="Examples before" disabled=${offset === 0} onClick=${() => setOffset(Math.max(0, offset - 8))}><${Icon} name="left" /></button>
        <button type="button" class="icon" aria-label="More examples" onClick=${() => setOffset(offset + 8)}><${Icon} name="right" /></button></span></div>`;
}
