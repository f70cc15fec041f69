// One setting as a field: its kind follows from its value and its description.
import { html, useEffect, useState } from '../lib/html.js';
import { about } from '../lib/schema.js';
import { show } from '../lib/settings.js';
import { Field } from './common.js';

/** Text of a field to a value; undefined: not understood. */
function parse(text, known, old) {
  const types = [].concat(known.type ?? (old === null ? 'any' : typeof old));
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

export function Setting({ pointer, values, value, origin, wrong, onChange, label }) {
  const known = about(pointer, values);
  const name = label || pointer.split('/').at(-1).replaceAll('_', ' ');
  const [text, setText] = useState(null);
  useEffect(() => setText(null), [show(value)]);
  const mark =
    origin && origin !== 'default'
      ? html`<span class=${`tag origin-${origin}`}>${origin === 'request' ? 'yours' : origin}</span>`
      : '';
  const heading = html`
    ${name}
    ${mark}
  `;
  if (typeof value === 'boolean') {
    return html`<div class="field">
      <label class="inline">
        <input type="checkbox" checked=${value} onChange=${(e) => onChange(e.target.checked)} />
        ${heading}
      </label>
      <span class="help">${known.description}</span>
      ${wrong && html`<span class="wrong" role="alert">${wrong}</span>`}
    </div>`;
  }
  if (known.enum) {
    return html`<${Field} label=${heading} help=${known.description} wrong=${wrong}>
      ${(a) => html`<select ...${a} onChange=${(e) => onChange(e.target.value)}>
        ${known.enum.map((one) => html`<option value=${one} selected=${one === value}>${one}</option>`)}
      </select>`}
    </${Field}>`;
  }
  const number = typeof value === 'number';
  const set = (next) => {
    setText(next);
    const parsed = parse(next, known, value);
    if (parsed !== undefined && show(parsed) !== show(value)) onChange(parsed);
  };
  return html`<${Field} label=${heading} help=${known.description} wrong=${wrong}>
    ${(a) => html`<input
      ...${a}
      class=${number ? 'num' : ''}
      inputmode=${number ? 'decimal' : undefined}
      value=${text ?? show(value === null ? '' : value)}
      placeholder=${value === null ? 'none' : ''}
      onChange=${(e) => set(e.target.value)}
    />`}
  </${Field}>`;
}
