// One setting as a field: its kind follows from its value and its description.
import { html, useEffect, useState } from '../lib/html.js';
import { about, range } from '../lib/schema.js';
import { keysOf, show } from '../lib/settings.js';
import { Field } from './common.js';

/**
 * Text of a field to a value; undefined: not understood.
 * @param {string} text
 * @param {import('../lib/schema.js').Schema} known
 * @param {unknown} old
 * @returns {any}
 */
function parse(text, known, old) {
  const types = [known.type ?? (old === null ? 'any' : typeof old)].flat();
  const word = text.trim();
  if (word === '' && (types.includes('null') || old === null || known.oneOf)) return null;
  if (types.includes('string') && !types.includes('number'))
    return word === 'null' && types.includes('null') ? null : text;
  try {
    return JSON.parse(word);
  } catch {
    return types.includes('number') || types.includes('integer') ? undefined : text;
  }
}

/**
 * @param {{
 *   pointer: string, values: object, value: unknown, origin?: string | undefined, wrong?: string | undefined,
 *   onChange: (value: unknown) => void, label?: string,
 * }} props
 */
export function Setting({ pointer, values, value, origin, wrong, onChange, label }) {
  const known = about(pointer, values);
  const name = label || (keysOf(pointer).at(-1) ?? '').replaceAll('_', ' ');
  const [text, setText] = useState(/** @type {string | null} */ (null));
  useEffect(() => setText(null), [show(value)]);
  const mark =
    origin && origin !== 'default'
      ? html`<span class=${`tag origin-${origin}`}>${origin === 'request' ? 'yours' : origin}</span>`
      : '';
  const heading = html`${name}${' '}${mark}`;
  if (typeof value === 'boolean') {
    return html`<div class="field">
      <label class="inline">
        <input type="checkbox" checked=${value} onChange=${(e) => onChange(e.currentTarget.checked)} />
        ${heading}
      </label>
      <span class="help">${known.description}</span>
      ${wrong && html`<span class="wrong" role="alert">${wrong}</span>`}
    </div>`;
  }
  const { enum: words } = known;
  if (words) {
    return html`<${Field} label=${heading} help=${known.description} wrong=${wrong}>
      ${(/** @type {FieldAttributes} */ a) => html`<select ...${a} onChange=${(e) => onChange(e.currentTarget.value)}>
        ${words.map((one) => html`<option value=${one} selected=${one === value}>${one}</option>`)}
      </select>`}
    </${Field}>`;
  }
  const number = typeof value === 'number';
  /** @param {string} next */
  const set = (next) => {
    setText(next);
    const parsed = parse(next, known, value);
    if (parsed !== undefined && show(parsed) !== show(value)) onChange(parsed);
  };
  const limits = range(known);
  const help = limits ? `${known.description} (${limits})` : known.description;
  return html`<${Field} label=${heading} help=${help} wrong=${wrong}>
    ${(/** @type {FieldAttributes} */ a) => html`<input
      ...${a}
      class=${number ? 'num' : ''}
      inputmode=${number ? 'decimal' : undefined}
      value=${text ?? show(value === null ? '' : value)}
      placeholder=${value === null ? 'none' : ''}
      onChange=${(e) => set(e.currentTarget.value)}
    />`}
  </${Field}>`;
}
