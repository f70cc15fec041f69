// A number that is typed: it counts once it is understood and within its limits, and says why where it is not.
import { html } from '../lib/html.js';
import { range } from '../lib/schema.js';
import { numberOf } from '../lib/typed.js';
import { useDraft } from './draft.js';
import { Field } from './common.js';

/**
 * `limits`: what the API's document says of the field.
 * @param {{
 *   label: string, help?: string, value: number, limits: import('../lib/schema.js').Schema, whole?: boolean,
 *   onChange: (value: number) => void, onWrong: (why: string | null) => void,
 * }} props
 */
export function NumberField({ label, help, value, limits, whole = false, onChange, onWrong }) {
  const { minimum = -Infinity, maximum = Infinity } = limits;
  /** @param {string} text */
  const read = (text) => {
    const found = numberOf(text, whole);
    if (found.wrong !== undefined || (found.value >= minimum && found.value <= maximum)) return found;
    return { wrong: `Must be ${range(limits)}.` };
  };
  const draft = useDraft({ shown: String(value), read, onChange, onWrong });
  return html`<${Field} label=${label} help=${help} wrong=${draft.wrong}>
    ${(/** @type {FieldAttributes} */ a) =>
      html`<input ...${a} ...${draft.attributes} class="num" inputmode="decimal" autocomplete="off" />`}
  </${Field}>`;
}
