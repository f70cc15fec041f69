// Ask a model about an image and watch where it looks.
import { html, useEffect, useMemo, useRef, useState } from '../lib/html.js';
import { epoch } from '../lib/live.js';
import { Asking, requestOf } from '../lib/asking.js';
import { answerers, origin, preferred, remember } from '../lib/models.js';
import { setQuery } from '../lib/router.js';
import { about } from '../lib/schema.js';
import { refusal } from '../lib/session.js';
import { Denied, Failure, Field, Loading, Select, useLoad } from '../parts/common.js';
import { Icon } from '../parts/icon.js';
import { Answer } from './playground_answer.js';
import { ImageInput } from './playground_input.js';

/**
 * @typedef {{
 *   temperature: number, maxTokens: number, seed: number, source: Api['MapSource'], layers: Api['Layers'],
 * }} Sampled
 */

/** Models up to this size answer at once when the page opens. */
const SMALL = 100_000_000;

/** @param {PageProps} props */
export default function Playground({ query }) {
  const why = refusal();
  useEffect(() => {
    document.title = 'Playground · VGPO';
  }, []);
  return why === null
    ? html`<${Opened} query=${query} />`
    : html`<${Denied} title="This key cannot query models" why=${why} />`;
}

/** @param {{ query: PageProps['query'] }} props */
function Opened({ query }) {
  const [found, error, again] = useLoad((signal) => answerers(signal), [epoch.value]);
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading the models" height=${400} />`;
  return html`<${Room} found=${found} query=${query} />`;
}

/** @param {{ found: import('../lib/models.js').Answerers, query: PageProps['query'] }} props */
function Room({ found, query }) {
  const [usual] = useState(() => preferred(found));
  const name = query.model || usual;
  const other = query.other || '';
  const about = origin(found, name);
  const card = /** @type {Card} */ (about.model?.card ?? {});
  const size = card.accepts?.image_sizes?.[0];
  const [image, setImage] = useState(/** @type {string | null} */ (null));
  const [prompt, setPrompt] = useState(card.examples?.[0] ?? 'What is in this picture?');
  const [settings, setSettings] = useState(
    /** @type {Sampled} */ ({ temperature: 0, maxTokens: 64, seed: 1, source: 'attention', layers: 'mean' }),
  );
  const askings = useMemo(() => [new Asking(), new Asking()], []);
  const [truth, setTruth] = useState(/** @type {string | null} */ (null));
  const names = [name, ...(other && other !== name ? [other] : [])];
  const answers = useRef(/** @type {HTMLDivElement | null} */ (null));
  /** @param {{ prompt?: string, image?: string | null }} [changes] */
  const ask = (changes = {}) => {
    const next = { prompt, image, ...settings, ...changes };
    remember(name);
    names.forEach((model, i) => askings[i].ask(requestOf({ model, ...next, images: next.image ? [next.image] : [] })));
  };
  /** On a phone the answer begins below the window. */
  const toAnswers = () => {
    const box = answers.current;
    if (box && box.getBoundingClientRect().top > innerHeight * 0.8) box.scrollIntoView({ block: 'start' });
  };
  /**
   * @param {string | null} picture
   * @param {string} question
   * @param {string} answer
   */
  const take = (picture, question, answer) => {
    setImage(picture);
    setTruth(answer);
    if (question) setPrompt(question);
    if (question && (about.model?.parameters ?? Infinity) <= SMALL) ask({ image: picture, prompt: question });
  };
  // Another model or another kind of map answers the same question again.
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    if (image && askings[0].state.value.status !== 'idle') ask();
  }, [names.join(), settings.source, settings.layers]);
  useEffect(() => () => askings.forEach((one) => one.stop()), []);
  /** @param {Partial<Sampled>} changes */
  const set = (changes) => setSettings({ ...settings, ...changes });
  return html`
    <div class="head">
      <div class="grow">
        <h1>Playground</h1>
        <p class="lead">
          Ask about an image and walk through the answer: the picture shows where the model looks for each
          token.
        </p>
      </div>
    </div>
    <div class="play">
      <section class="card stack play-ask" aria-label="Question">
        <div class="two">
          <${Select}
            label="Model"
            value=${name}
            options=${found.choices}
            onChange=${(/** @type {string} */ value) => setQuery({ model: value })}
          />
          <${Select}
            label="Comparison"
            value=${other}
            options=${[['', 'nothing'], ...found.choices]}
            onChange=${(/** @type {string} */ value) => setQuery({ other: value })}
          />
        </div>
        ${
          card.task &&
          html`<details class="about">
            <summary>${card.title || about.model?.id}: what it can do</summary>
            <p>${card.task}</p>
            ${card.limits && html`<p class="muted">${card.limits}</p>`}
          </details>`
        }
        <${ImageInput}
          image=${image}
          size=${size}
          about=${about}
          take=${take}
          setImage=${(/** @type {string | null} */ picture) => {
            setImage(picture);
            setTruth(null);
          }}
        />
        <form
          class="stack"
          style=${{ gap: '8px' }}
          onSubmit=${(e) => {
            e.preventDefault();
            ask();
            toAnswers();
          }}
        >
          <${Field} label="Question">
            ${(/** @type {FieldAttributes} */ attributes) => html`<textarea
              ...${attributes}
              rows=${2}
              value=${prompt}
              onInput=${(e) => setPrompt(e.currentTarget.value)}
              onKeyDown=${(e) => {
                if (e.key === 'Enter' && !e.shiftKey) {
                  e.preventDefault();
                  ask();
                  toAnswers();
                }
              }}
            ></textarea>`}
          </${Field}>
          ${
            card.examples &&
            html`<div class="row chips">
              ${card.examples.map(
                (text) => html`<button
                  type="button"
                  class="small"
                  onClick=${() => {
                    setPrompt(text);
                    ask({ prompt: text });
                  }}
                >
                  ${text}
                </button>`,
              )}
            </div>`
          }
          <div class="row">
            <button class="primary" type="submit" disabled=${!prompt.trim()}><${Icon} name="eye" />Ask</button>
            ${
              truth &&
              html`<span class="muted small-text">ground truth of the example: <b class="mono">${truth}</b></span>`
            }
          </div>
        </form>
        <${Sampling} settings=${settings} set=${set} />
      </section>
      <div ref=${answers} class=${`answers ${names.length > 1 ? 'two-answers' : ''}`}>
        ${names.map(
          (model, i) => html`<${Answer}
            key=${i}
            asking=${askings[i]}
            model=${model}
            image=${image}
            source=${settings.source}
            choices=${found.choices}
            alone=${names.length === 1}
          />`,
        )}
      </div>
    </div>
  `;
}

/**
 * `mean`, `last`, or layers by number, as people write them; undefined: not understood.
 * @param {string} text
 * @returns {Api['Layers'] | undefined}
 */
function layersOf(text) {
  const word = text.trim();
  if (word === 'mean' || word === 'last') return word;
  const numbers = word.split(/[\s,]+/).map(Number);
  return word && numbers.every((n) => Number.isInteger(n) && n >= 0) ? numbers : undefined;
}

/** @param {string} name */
const limits = (name) => about(`/${name}`, {}, 'GenerateRequest');

/** @param {{ settings: Sampled, set: (changes: Partial<Sampled>) => void }} props */
const Sampling = ({ settings, set }) => html`<details>
  <summary>Sampling and maps</summary>
  <div class="two" style=${{ marginTop: '10px' }}>
    <${Field} label="Temperature" help="0 is greedy">
      ${(/** @type {FieldAttributes} */ a) => html`<input
        ...${a}
        type="number"
        min=${limits('temperature').minimum}
        max=${limits('temperature').maximum}
        step="0.1"
        value=${settings.temperature}
        onChange=${(e) => set({ temperature: Number(e.currentTarget.value) })}
      />`}
    </${Field}>
    <${Field} label="Most tokens">
      ${(/** @type {FieldAttributes} */ a) => html`<input
        ...${a}
        type="number"
        min=${limits('max_new_tokens').minimum}
        value=${settings.maxTokens}
        onChange=${(e) => set({ maxTokens: Number(e.currentTarget.value) })}
      />`}
    </${Field}>
    <${Select}
      label="Maps show"
      value=${settings.source}
      onChange=${(/** @type {Api['MapSource']} */ source) => set({ source })}
      options=${[
        ['attention', 'attention'],
        ['similarity', 'similarity'],
      ]}
    />
    <${LayerChoice} layers=${settings.layers} set=${(/** @type {Api['Layers']} */ layers) => set({ layers })} />
  </div>
</details>`;

/** @param {{ layers: Api['Layers'], set: (layers: Api['Layers']) => void }} props */
function LayerChoice({ layers, set }) {
  const [wrong, setWrong] = useState(false);
  /** @param {string} text */
  const change = (text) => {
    const found = layersOf(text);
    setWrong(found === undefined);
    if (found !== undefined) set(found);
  };
  return html`<${Field}
    label="Layers"
    help="mean, last, or numbers from 0"
    wrong=${wrong && 'Write mean, last, or numbers with commas between'}
  >
    ${(/** @type {FieldAttributes} */ a) => html`
      <input
        ...${a}
        list="layer-choices"
        value=${String(layers)}
        onChange=${(e) => change(e.currentTarget.value)}
      />
      <datalist id="layer-choices"><option value="mean" /><option value="last" /><option value="0" /></datalist>
    `}
  </${Field}>`;
}
