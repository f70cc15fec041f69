// One setting as a field: its kind follows from its value and its description.
import { html } from '../lib/html.js';
import { about, range } from '../lib/schema.js';
import { keysOf, show } from '../lib/settings.js';
import { kindsOf, typed } from '../lib/typed.js';
import { NONE } from '../lib/vary.js';
import { useDraft } from './draft.js';
import { Field } from './common.js';
import { VariedChoice, VariedText, VaryButton } from './varied.js';

/**
 * The values that a setting of few values may have, with what stands for each; null where it may have many.
 * @param {import('../lib/schema.js').Schema} known
 * @param {string[]} kinds
 * @returns {[value: unknown, text: string][] | null}
 */
function choicesOf(known, kinds) {
  const boolean = kinds.every((kind) => kind === 'boolean' || kind === 'null');
  if (!known.enum && !boolean) return null;
  /** @type {[unknown, string][]} */
  const own = known.enum ? known.enum.map((word) => [word, word]) : [true, false].map((one) => [one, String(one)]);
  return kinds.includes('null') ? [[null, NONE], ...own] : own;
}

/**
 * `onWrong` hears why the field's text has no meaning, or null once it has one: nothing is dropped without a word.
 * `vary`: the setting may have several values, and has those of `vary.values`.
 * @param {{
 *   pointer: string, values: object, value: unknown, origin?: string | undefined, wrong?: string | undefined,
 *   onChange: (value: unknown) => void, onWrong: (why: string | null) => void, label?: string,
 *   vary?: import('./varied.js').Vary | undefined,
 * }} props
 */
export function Setting({ pointer, values, value, origin, wrong, onChange, onWrong, label, vary }) {
  const known = about(pointer, values);
  const kinds = kindsOf(known, value);
  const name = label || (keysOf(pointer).at(-1) ?? '').replaceAll('_', ' ');
  const mark =
    origin && origin !== 'default'
      ? html`<span class=${`tag origin-${origin}`}>${origin === 'request' ? 'yours' : origin}</span>`
      : '';
  const heading = html`${name}${' '}${mark}`;
  const aside = vary && html`<${VaryButton} name=${name} vary=${vary} value=${value} />`;
  const choices = choicesOf(known, kinds);
  const limits = range(known);
  const help = (limits ? `${known.description} (${limits})` : known.description) ?? '';
  if (vary?.values) {
    return choices
      ? html`<${VariedChoice} name=${name} choices=${choices} vary=${vary} aside=${aside} wrong=${wrong} />`
      : html`<${VariedText}
        label=${name}
        help=${help}
        known=${known}
        value=${value}
        vary=${vary}
        aside=${aside}
        wrong=${wrong}
        onWrong=${onWrong}
      />`;
  }
  if (typeof value === 'boolean' && !kinds.includes('null')) {
    return html`<div class="field">
      <div class="label-row">
        <label class="inline">
          <input type="checkbox" checked=${value} onChange=${(e) => onChange(e.currentTarget.checked)} />
          ${heading}
        </label>
        ${aside}
      </div>
      <span class="help">${known.description}</span>
      ${wrong && html`<span class="wrong" role="alert">${wrong}</span>`}
    </div>`;
  }
  if (choices) {
    return html`<${Field} label=${heading} help=${known.description} wrong=${wrong} aside=${aside}>
      ${(/** @type {FieldAttributes} */ a) => html`<select
        ...${a}
        onChange=${(e) => onChange(choices[e.currentTarget.selectedIndex][0])}
      >
        ${choices.map(([one, text]) => html`<option value=${text} selected=${one === value}>${text}</option>`)}
      </select>`}
    </${Field}>`;
  }
  const read = (/** @type {string} */ text) => typed(text, known, value);
  return html`<${Text}
    label=${heading}
    wrong=${wrong}
    aside=${aside}
    help=${help}
    value=${value}
    read=${read}
    onChange=${onChange}
    onWrong=${onWrong}
  />`;
}

/**
 * @param {{
 *   label: Child, help: string, wrong: string | undefined, value: unknown,
 *   read: (text: string) => import('../lib/typed.js').Typed, aside: Child,
 *   onChange: (value: unknown) => void, onWrong: (why: string | null) => void,
 * }} props
 */
function Text({ label, help, wrong, value, read, aside, onChange, onWrong }) {
  const shown = value === null ? '' : show(value);
  const draft = useDraft({ shown, read, onChange, onWrong });
  const number = typeof value === 'number';
  return html`<${Field} label=${label} help=${help} wrong=${draft.wrong ?? wrong} aside=${aside}>
    ${(/** @type {FieldAttributes} */ a) => html`<input
      ...${a}
      ...${draft.attributes}
      class=${number ? 'num' : ''}
      inputmode=${number ? 'decimal' : undefined}
      autocomplete="off"
      placeholder=${value === null ? NONE : ''}
    />`}
  </${Field}>`;
}
