// Ask a model about an image and watch where it looks.
import { html, useEffect, useMemo, useRef, useState } from '../lib/html.js';
import { epoch } from '../lib/live.js';
import { Asking, requestOf } from '../lib/asking.js';
import { answerers, origin, preferred, remember } from '../lib/models.js';
import { setQuery } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { Denied, Failure, Field, Loading, Select, useLoad } from '../parts/common.js';
import { Icon } from '../parts/icon.js';
import { Answer } from './playground_answer.js';
import { ImageInput } from './playground_input.js';
import { Sampling } from './playground_sampling.js';

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
  const [prompt, setPrompt] = useState(card.examples?.[0] ?? 'What is in this image?');
  const [settings, setSettings] = useState(
    /** @type {Sampled} */ ({ temperature: 0, maxTokens: 64, seed: 1, source: 'attention', layers: 'mean' }),
  );
  const askings = useMemo(() => [new Asking(), new Asking()], []);
  const [truth, setTruth] = useState(/** @type {string | null} */ (null));
  const names = [name, ...(other && other !== name ? [other] : [])];
  const answers = useRef(/** @type {HTMLDivElement | null} */ (null));
  /** Fields whose text has no meaning: nothing is asked with one of them. */
  const [wrongs, setWrongs] = useState(() => /** @type {Set<string>} */ (new Set()));
  /**
   * @param {string} field
   * @param {string | null} why
   */
  const mark = (field, why) =>
    setWrongs((old) => {
      const next = new Set(old);
      if (why === null) next.delete(field);
      else next.add(field);
      return next;
    });
  /** @param {{ prompt?: string, image?: string | null }} [changes] */
  const ask = (changes = {}) => {
    if (wrongs.size > 0) return;
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
  }, [names.join(), settings.source, String(settings.layers)]);
  useEffect(() => () => askings.forEach((one) => one.stop()), []);
  /** @param {Partial<Sampled>} changes */
  const set = (changes) => setSettings((old) => ({ ...old, ...changes }));
  return html`
    <div class="head">
      <div class="grow">
        <h1>Playground</h1>
        <p class="lead">
          Ask about an image and walk through the answer: the image shows where the model looks for each
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
            label="Compare with"
            value=${other}
            options=${[['', 'none'], ...found.choices]}
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
            <button class="primary" type="submit" disabled=${!prompt.trim() || wrongs.size > 0}>
              <${Icon} name="eye" />
              Ask
            </button>
            ${
              truth &&
              html`<span class="muted small-text">ground truth of the example: <b class="mono">${truth}</b></span>`
            }
          </div>
        </form>
        <${Sampling} settings=${settings} set=${set} mark=${mark} />
      </section>
      <div ref=${answers} class=${`answers ${names.length > 1 ? 'two-answers' : ''}`}>
        ${names.map(
          (model, i) => html`<${Answer}
            key=${i}
            asking=${askings[i]}
            all=${askings.slice(0, names.length)}
            model=${model}
            now=${{ image, prompt }}
            again=${() => ask()}
            choices=${found.choices}
            alone=${names.length === 1}
          />`,
        )}
      </div>
    </div>
  `;
}
