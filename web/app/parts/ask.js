// Questions before something is done, and short news after.
import { html, signal, useEffect, useId, useRef } from '../lib/html.js';
import { Icon } from './icon.js';
import { asError, faultsOf } from '../lib/api.js';
import { copy } from '../lib/download.js';

/**
 * @typedef {{
 *   title: string, text: string, yes: string, no?: string | undefined, danger?: boolean,
 *   field?: { label: string, value: string, attributes: object }, answer: (given: string | null) => void,
 * }} Question
 */

const question = signal(/** @type {Question | null} */ (null));
const news = signal(/** @type {{ id: number, text: string, bad: boolean }[]} */ ([]));
let count = 0;

/**
 * Asks for a confirmation; true when people agree. `no`: what the other button says.
 * @param {{ title: string, text: string, yes: string, no?: string | undefined, danger?: boolean }} question
 * @returns {Promise<boolean>}
 */
export function confirm({ title, text, yes, no, danger = false }) {
  return new Promise((resolve) => {
    question.value = { title, text, yes, no, danger, answer: (given) => resolve(given !== null) };
  });
}

/**
 * Asks for a word or a number; null when people would rather not.
 * `label` names the field, `attributes` are its input's.
 * @param {{ title: string, text: string, yes: string, label: string, value?: string, attributes?: object }} question
 * @returns {Promise<string | null>}
 */
export function askFor({ title, text, yes, label, value = '', attributes = {} }) {
  return new Promise((resolve) => {
    question.value = { title, text, yes, field: { label, value, attributes }, answer: resolve };
  });
}

/**
 * @param {string} text
 * @param {boolean} [bad]
 */
export function say(text, bad = false) {
  const id = (count += 1);
  news.value = [...news.value, { id, text, bad }];
  setTimeout(() => drop(id), bad ? 12_000 : 5000);
}

/** @param {number} id */
const drop = (id) => {
  news.value = news.value.filter((one) => one.id !== id);
};

/**
 * @param {string} text
 * @param {string} what
 */
export async function sayCopied(text, what) {
  const done = await copy(text);
  say(done ? `${what} copied` : `${what} could not be copied: the browser refused`, !done);
}

/**
 * Does something and says how it went; true when it went well.
 * @param {() => Promise<unknown>} work
 * @param {string} [done]
 */
export async function attempt(work, done) {
  try {
    await work();
    if (done) say(done);
    return true;
  } catch (error) {
    const { message } = asError(error);
    const faults = faultsOf(error).map((f) => `${f.pointer}: ${f.detail}`);
    say([message, ...faults.filter((line) => !message.includes(line))].join(' · '), true);
    return false;
  }
}

export function Questions() {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const id = useId();
  const asked = question.value;
  useEffect(() => {
    if (asked && dialog.current && !dialog.current.open) dialog.current.showModal();
  }, [asked]);
  if (!asked) return null;
  /** @param {string | null} given */
  const answer = (given) => {
    question.value = null;
    asked.answer(given);
  };
  const { title, text, field, yes, no = 'Cancel', danger } = asked;
  /** @param {Event & { currentTarget: HTMLFormElement }} event */
  const agree = (event) => {
    event.preventDefault();
    answer(String(new FormData(event.currentTarget).get('answer') ?? '').trim());
  };
  return html`<dialog
    ref=${dialog}
    aria-labelledby="question"
    onCancel=${() => answer(null)}
    onClose=${() => question.value && answer(null)}
  >
    <h2 id="question">${title}</h2>
    <p>${text}</p>
    <form onSubmit=${agree}>
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
        <button type="button" onClick=${() => answer(null)}>${no}</button>
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
