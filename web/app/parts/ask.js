// Questions before something is done, and short news after.
import { html, signal, useEffect, useId, useRef } from '../lib/html.js';
import { Icon } from './icon.js';
import { copy } from '../lib/download.js';

const question = signal(null);
const news = signal([]);
let count = 0;

/** Asks for a confirmation; true when people agree. */
export function confirm({ title, text, yes, danger = false }) {
  return new Promise((resolve) => {
    question.value = { title, text, yes, danger, no: false, agree: () => true, resolve };
  });
}

/**
 * Asks for a word or a number; null when people would rather not.
 * `label` names the field, `attributes` are its input's.
 */
export function askFor({ title, text, yes, label, value = '', attributes = {} }) {
  return new Promise((resolve) => {
    question.value = {
      title,
      text,
      yes,
      field: { label, value, attributes },
      no: null,
      agree: (form) => form.elements.answer.value.trim(),
      resolve,
    };
  });
}

export function say(text, bad = false) {
  const id = (count += 1);
  news.value = [...news.value, { id, text, bad }];
  setTimeout(() => drop(id), bad ? 12_000 : 5000);
}

const drop = (id) => {
  news.value = news.value.filter((one) => one.id !== id);
};

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
    say(
      [error.message, ...(error.fields || []).map((f) => `${f.pointer}: ${f.detail}`)]
        .filter((line, i, all) => i === 0 || !all[0].includes(all[i]))
        .join(' · '),
      true,
    );
    return false;
  }
}

export function Questions() {
  const dialog = useRef(null);
  const id = useId();
  const asked = question.value;
  useEffect(() => {
    if (asked && dialog.current && !dialog.current.open) dialog.current.showModal();
  }, [asked]);
  if (!asked) return null;
  const answer = (value) => {
    question.value = null;
    asked.resolve(value);
  };
  const { title, text, field, yes, no, danger } = asked;
  return html`<dialog
    ref=${dialog}
    aria-labelledby="question"
    onCancel=${() => answer(no)}
    onClose=${() => question.value && answer(no)}
  >
    <h2 id="question">${title}</h2>
    <p>${text}</p>
    <form
      onSubmit=${(event) => {
        event.preventDefault();
        answer(asked.agree(event.target));
      }}
    >
      ${
        field &&
        html`<div class="field">
          <label for=${id}>${field.label}</label>
          <input
            id=${id}
            name="answer"
            required
            autocomplete="off"
            value=${field.value}
            ...${field.attributes}
          />
        </div>`
      }
      <div class="row">
        <button type="button" onClick=${() => answer(no)}>Keep as it is</button>
        <button class=${danger ? 'danger' : 'primary'}>${yes}</button>
      </div>
    </form>
  </dialog>`;
}

export const News = () => html`<div class="toasts" role="status" aria-live="polite">
  ${news.value.map(
    ({ id, text, bad }) => html`<div class=${`toast ${bad ? 'bad' : ''}`} key=${id}>
      <span>${text}</span>
      <button class="icon small" aria-label="Dismiss" onClick=${() => drop(id)}><${Icon} name="close" /></button>
    </div>`,
  )}
</div>`;
