// One setting as a field: its kind follows from its value and its description.
import { html } from '../lib/html.js';
import { about, range } from '../lib/schema.js';
import { keysOf, show } from '../lib/settings.js';
import { kindsOf, typed } from '../lib/typed.js';
import { useDraft } from './draft.js';
import { Field } from './common.js';

/** What stands for “no value”. */
const NONE = 'none';

/**
 * `onWrong` hears why the field's text has no meaning, or null once it has one: nothing is dropped without a word.
 * @param {{
 *   pointer: string, values: object, value: unknown, origin?: string | undefined, wrong?: string | undefined,
 *   onChange: (value: unknown) => void, onWrong: (why: string | null) => void, label?: string,
 * }} props
 */
export function Setting({ pointer, values, value, origin, wrong, onChange, onWrong, label }) {
  const known = about(pointer, values);
  const kinds = kindsOf(known, value);
  const name = label || (keysOf(pointer).at(-1) ?? '').replaceAll('_', ' ');
  const mark =
    origin && origin !== 'default'
      ? html`<span class=${`tag origin-${origin}`}>${origin === 'request' ? 'yours' : origin}</span>`
      : '';
  const heading = html`${name}${' '}${mark}`;
  const described = { label: heading, help: known.description, wrong };
  if (typeof value === 'boolean' && !kinds.includes('null')) {
    return html`<div class="field">
      <label class="inline">
        <input type="checkbox" checked=${value} onChange=${(e) => onChange(e.currentTarget.checked)} />
        ${heading}
      </label>
      <span class="help">${known.description}</span>
      ${wrong && html`<span class="wrong" role="alert">${wrong}</span>`}
    </div>`;
  }
  const words = known.enum ?? (kinds.every((kind) => kind === 'boolean' || kind === 'null') ? ['true', 'false'] : null);
  if (words) {
    const boolean = !known.enum;
    const choices = kinds.includes('null') ? [NONE, ...words] : words;
    /** @param {string} word */
    const chosen = (word) => (word === NONE && kinds.includes('null') ? null : boolean ? word === 'true' : word);
    return html`<${Field} ...${described}>
      ${(/** @type {FieldAttributes} */ a) => html`<select
        ...${a}
        onChange=${(e) => onChange(chosen(e.currentTarget.value))}
      >
        ${choices.map((one) => html`<option value=${one} selected=${chosen(one) === value}>${one}</option>`)}
      </select>`}
    </${Field}>`;
  }
  const limits = range(known);
  const help = limits ? `${known.description} (${limits})` : known.description;
  const read = (/** @type {string} */ text) => typed(text, known, value);
  return html`<${Text}
    ...${described}
    help=${help ?? ''}
    value=${value}
    read=${read}
    onChange=${onChange}
    onWrong=${onWrong}
  />`;
}

/**
 * @param {{
 *   label: Child, help: string, wrong: string | undefined, value: unknown,
 *   read: (text: string) => import('../lib/typed.js').Typed,
 *   onChange: (value: unknown) => void, onWrong: (why: string | null) => void,
 * }} props
 */
function Text({ label, help, wrong, value, read, onChange, onWrong }) {
  const shown = value === null ? '' : show(value);
  const draft = useDraft({ shown, read, onChange, onWrong });
  const number = typeof value === 'number';
  return html`<${Field} label=${label} help=${help} wrong=${draft.wrong ?? wrong}>
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
