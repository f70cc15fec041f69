// Questions before something is done, and short news after.
import { html, signal, useEffect, useRef } from '../lib/html.js';
import { Icon } from './icon.js';
import { copy } from '../lib/download.js';

const question = signal(null);
const news = signal([]);
let count = 0;

/** Asks for a confirmation; true when people agree. */
export function confirm({ title, text, yes, danger = false }) {
  return new Promise((resolve) => { question.value = { title, text, yes, danger, resolve }; });
}

export function say(text, bad = false) {
  const id = (count += 1);
  news.value = [...news.value, { id, text, bad }];
  setTimeout(() => drop(id), bad ? 12_000 : 5000);
}

const drop = (id) => { news.value = news.value.filter((one) => one.id !== id); };

export async function sayCopied(text, what) {
  const done = await copy(text);
  say(done ? `${what} copied` : `${what} could not be copied: the browser refused`, !done);
}

/** Does something and says how it went; true when it went well. */
export async function attempt(work, done) {
  try {
    const result = await work();
    if (done) say(typeof done === 'function' ? done(result) : done);
    return true;
  } catch (error) {
    say([error.message, ...(error.fields || []).map((f) => `${f.pointer}: ${f.detail}`)].filter((line, i, all) => i === 0 || !all[0].includes(all[i])).join(' · '), true);
    return false;
  }
}

export function Questions() {
  const dialog = useRef(null);
  const asked = question.value;
  useEffect(() => { if (asked && dialog.current && !dialog.current.open) dialog.current.showModal(); }, [asked]);
  if (!asked) return null;
  const answer = (value) => { question.value = null; asked.resolve(value); };
  return html`<dialog ref=${dialog} aria-labelledby="question" onCancel=${() => answer(false)} onClose=${() => question.value && answer(false)}>
    <h2 id="question">${asked.title}</h2>
    <p>${asked.text}</p>
    <div class="row"><button onClick=${() => answer(false)}>Keep as it is</button>
      <button class=${asked.danger ? 'danger' : 'primary'} onClick=${() => answer(true)}>${asked.yes}</button></div>
  </dialog>`;
}

export const News = () => html`<div class="toasts" role="status" aria-live="polite">${news.value.map(({ id, text, bad }) => html`
  <div class=${`toast ${bad ? 'bad' : ''}`} key=${id}><span>${text}</span>
    <button class="icon small" aria-label="Dismiss" onClick=${() => drop(id)}><${Icon} name="close" /></button></div>`)}</div>`;
