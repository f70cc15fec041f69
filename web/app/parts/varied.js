// A setting with several values, each of which becomes jobs of a sweep.
import { html, useEffect, useRef } from '../lib/html.js';
import { show } from '../lib/settings.js';
import { listOf, listText, NONE } from '../lib/vary.js';
import { useDraft } from './draft.js';
import { Field, Select } from './common.js';

/**
 * `values`: what it varies over; undefined where it has one value. `set` with null goes back to one.
 * `unread`: does the field hold a text that has no meaning yet?
 * @typedef {{
 *   values: unknown[] | undefined, set: (values: unknown[] | null) => void, unread?: boolean,
 * }} Vary
 */

/**
 * Turns one value into a list, and back. A text without meaning would be lost on the way, so it holds the button.
 * @param {{ name: string, vary: Vary, value: unknown }} props
 */
export function VaryButton({ name, vary, value }) {
  const on = vary.values !== undefined;
  return html`<button
    type="button"
    class="vary"
    aria-pressed=${on}
    aria-label=${`Vary ${name}`}
    title=${vary.unread ? 'Its text has no meaning yet' : on ? 'Back to one value' : 'Try several values: a sweep'}
    disabled=${vary.unread}
    onClick=${() => vary.set(on ? null : [value])}
  >
    vary
  </button>`;
}

/** @param {unknown[]} values */
const told = (values) =>
  `${values.length} ${values.length === 1 ? 'value' : 'values'}: ` +
  values.map((one) => (one === null ? NONE : show(one))).join(' · ');

/**
 * @param {{
 *   label: string, help: string, known: import('../lib/schema.js').Schema, value: unknown, vary: Vary, aside: Child,
 *   wrong: string | undefined, onWrong: (why: string | null) => void,
 * }} props
 */
export function VariedText({ label, help, known, value, vary, aside, wrong, onWrong }) {
  const values = vary.values ?? [];
  const shown = listText(values, known);
  const read = (/** @type {string} */ text) => listOf(text, known, value);
  const draft = useDraft({ shown, read, onChange: vary.set, onWrong });
  const place = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  // It has just become a list: the next value is what is typed next.
  useEffect(() => {
    place.current?.focus();
    place.current?.setSelectionRange(shown.length, shown.length);
  }, []);
  const lines = draft.attributes.value.split('\n').length;
  return html`<${Field}
    label=${label}
    help=${html`<b class="told">${told(values)}</b>${' '}${help}`}
    wrong=${draft.wrong ?? wrong}
    aside=${aside}
  >
    ${(/** @type {FieldAttributes} */ a) => html`<textarea
      ...${a}
      ...${draft.attributes}
      ref=${place}
      class="mono"
      rows=${Math.min(8, lines)}
      autocomplete="off"
      spellcheck=${false}
    ></textarea>`}
  </${Field}>`;
}

/**
 * A setting of few values: those that are checked.
 * @param {{
 *   name: string, choices: [value: unknown, text: string][], vary: Vary, aside: Child, wrong?: Child,
 * }} props
 */
export function VariedChoice({ name, choices, vary, aside, wrong }) {
  const values = vary.values ?? [];
  /** @param {unknown} one */
  const flip = (one) =>
    vary.set(choices.map(([value]) => value).filter((value) => (value === one) !== values.includes(value)));
  return html`<div class="field" role="group" aria-label=${`Values of ${name}`}>
    <div class="label-row"><span class="label">${name}</span>${aside}</div>
    <div class="varied-choices">
      ${choices.map(
        ([value, text]) => html`<label class="inline" key=${text}>
          <input type="checkbox" checked=${values.includes(value)} onChange=${() => flip(value)} />
          ${text}
        </label>`,
      )}
    </div>
    <span class="help">${told(values)}</span>
    ${wrong && html`<span class="wrong" role="alert">${wrong}</span>`}
  </div>`;
}

/**
 * A choice that may be several.
 * @param {Parameters<typeof Select>[0] & { label: string, vary: Vary }} props
 */
export function VariedSelect({ vary, ...select }) {
  const aside = html`<${VaryButton} name=${select.label} vary=${vary} value=${select.value} />`;
  if (vary.values === undefined) return html`<${Select} ...${select} aside=${aside} />`;
  const choices = select.options.flatMap((option) => ('options' in option ? option.options : [option]));
  return html`<${VariedChoice}
    name=${select.label}
    choices=${choices}
    vary=${vary}
    aside=${aside}
    wrong=${select.wrong}
  />`;
}
