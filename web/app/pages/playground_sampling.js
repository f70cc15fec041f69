// How the playground samples an answer, and what its maps show.
import { html } from '../lib/html.js';
import { about } from '../lib/schema.js';
import { useDraft } from '../parts/draft.js';
import { Field, Select } from '../parts/common.js';
import { NumberField } from '../parts/number_field.js';

/** @typedef {import('./playground.js').Sampled} Sampled */

/**
 * `mean`, `last`, or layers by number, as people write them.
 * @param {string} text
 * @returns {import('../lib/typed.js').Typed}
 */
function layersOf(text) {
  const word = text.trim();
  if (word === 'mean' || word === 'last') return { value: word };
  const numbers = word.split(/[\s,]+/).map(Number);
  if (word && numbers.every((n) => Number.isInteger(n) && n >= 0)) return { value: numbers };
  return { wrong: 'Write mean, last, or numbers with commas between' };
}

/** @param {string} name */
const limits = (name) => about(`/${name}`, {}, 'GenerateRequest');

/**
 * `mark` hears of a field why its text has no meaning, or null.
 * @param {{
 *   settings: Sampled, set: (changes: Partial<Sampled>) => void, mark: (field: string, why: string | null) => void,
 * }} props
 */
export const Sampling = ({ settings, set, mark }) => html`<details>
  <summary>Sampling and maps</summary>
  <div class="two" style=${{ marginTop: '10px' }}>
    <${NumberField}
      label="Temperature"
      help="0 is greedy"
      value=${settings.temperature}
      limits=${limits('temperature')}
      onChange=${(/** @type {number} */ temperature) => set({ temperature })}
      onWrong=${(/** @type {string | null} */ why) => mark('temperature', why)}
    />
    <${NumberField}
      label="Max tokens"
      value=${settings.maxTokens}
      limits=${limits('max_new_tokens')}
      whole=${true}
      onChange=${(/** @type {number} */ maxTokens) => set({ maxTokens })}
      onWrong=${(/** @type {string | null} */ why) => mark('maxTokens', why)}
    />
    <${Select}
      label="Maps show"
      value=${settings.source}
      onChange=${(/** @type {Api['MapSource']} */ source) => set({ source })}
      options=${[
        ['attention', 'attention'],
        ['similarity', 'similarity'],
      ]}
    />
    <${LayerChoice} layers=${settings.layers} set=${set} mark=${mark} />
  </div>
</details>`;

/**
 * @param {{
 *   layers: Api['Layers'], set: (changes: Partial<Sampled>) => void, mark: (field: string, why: string | null) => void,
 * }} props
 */
function LayerChoice({ layers, set, mark }) {
  const draft = useDraft({
    shown: String(layers),
    read: layersOf,
    onChange: (value) => set({ layers: value }),
    onWrong: (why) => mark('layers', why),
  });
  return html`<${Field} label="Layers" help="mean, last, or numbers from 0" wrong=${draft.wrong}>
    ${(/** @type {FieldAttributes} */ a) => html`
      <input ...${a} ...${draft.attributes} list="layer-choices" />
      <datalist id="layer-choices"><option value="mean" /><option value="last" /><option value="0" /></datalist>
    `}
  </${Field}>`;
}
