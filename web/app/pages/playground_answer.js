// One answer: its tokens, the image under them, how it forgets, and what it hangs on.
import { html, useEffect, useMemo, useState } from '../lib/html.js';
import { faultsOf } from '../lib/api.js';
import { asCurl, asPython } from '../lib/asking.js';
import { layersText } from '../lib/layers.js';
import { extent, gridOf, span } from '../lib/maps.js';
import { theme } from '../lib/colour.js';
import { number, percent, shortId } from '../lib/format.js';
import { sharesAlong, WHOLE } from '../lib/shares.js';
import { Chart } from '../parts/chart.js';
import { Dependence, worstOf } from '../parts/dependence.js';
import { HeatImage } from '../parts/heat_image.js';
import { Scale } from '../parts/scale.js';
import { Tokens } from '../parts/tokens.js';
import { sayCopied } from '../parts/ask.js';
import { Segmented } from '../parts/common.js';
import { Icon } from '../parts/icon.js';

/** @typedef {import('../lib/asking.js').State} State */

/**
 * What tokens may be coloured by.
 * @typedef {{
 *   label: string, map: ColourMap, of: (state: State) => (number | null | undefined)[] | undefined,
 *   text: (value: number) => string,
 * }} Colour
 * @typedef {'image' | 'hidden' | 'focus' | 'logprob'} ColourName
 */

/** @type {Record<ColourName, Colour>} */
const COLOURS = {
  image: {
    label: 'attention',
    map: 'viridis',
    of: (s) => s.tokens.map((t) => t.attention.image),
    text: percent,
  },
  hidden: {
    label: 'depends on the image',
    map: 'diverging',
    of: (s) => s.hidden?.whole?.map((v) => -v),
    text: number,
  },
  focus: { label: 'focus', map: 'viridis', of: (s) => s.tokens.map((t) => t.focus), text: number },
  logprob: { label: 'log-prob', map: 'viridis', of: (s) => s.tokens.map((t) => t.logprob), text: number },
};
const NAMES = /** @type {ColourName[]} */ (Object.keys(COLOURS));
/** @type {Record<ColourName, string>} */
const HELP = {
  image: 'How much of its attention the position that predicts the token gives to the image.',
  hidden:
    'How much likelier the token is with the image than with the image hidden (in nats). ' +
    'Attention alone proves nothing; this does.',
  focus: 'How close the state that reads the token is to the image: what VGPO weighs.',
  logprob: 'How sure the model is of the token.',
};

/**
 * @param {string} model
 * @param {OptionGroup[]} choices
 */
const nameOf = (model, choices) =>
  choices.flatMap((group) => group.options).find(([id]) => id === model)?.[1] ?? shortId(model);

/**
 * What no longer belongs to an answer: its image, its question, or both; null where all does.
 * @param {State} state
 * @param {{ image: string | null, prompt: string }} now
 */
function strangers({ request }, now) {
  if (!request) return null;
  const other = [
    (request.images[0] ?? null) === now.image ? '' : 'image',
    request.prompt === now.prompt ? '' : 'question',
  ];
  return other.filter(Boolean).join(' and ') || null;
}

/**
 * `all`: what is asked side by side with it, itself among them: they share their scales. `now`: the image and the
 * question as they stand, which may be others by now.
 * @param {{
 *   asking: import('../lib/asking.js').Asking, all: import('../lib/asking.js').Asking[], model: string,
 *   now: { image: string | null, prompt: string }, again: () => void, choices: OptionGroup[], alone: boolean,
 * }} props
 */
export function Answer({ asking, all, model, now, again, choices, alone }) {
  const state = asking.state.value;
  const states = all.map((one) => one.state.value);
  const other = strangers(state, now);
  const [current, setCurrent] = useState(/** @type {number | null} */ (null));
  const [colour, setColour] = useState(/** @type {ColourName} */ ('image'));
  const [playing, setPlaying] = useState(false);
  const writing = state.status === 'writing';
  // While it writes, the heat map follows the newest token.
  const at = writing ? state.tokens.length - 1 : current;
  useEffect(() => {
    if (state.status === 'waiting') {
      setCurrent(null);
      setPlaying(false);
    }
  }, [state.status]);
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(
      () =>
        setCurrent((n) => {
          const next = (n ?? -1) + 1;
          if (next < state.tokens.length) return next;
          setPlaying(false);
          return null;
        }),
      320,
    );
    return () => clearInterval(timer);
  }, [playing, state.tokens.length]);
  const texts = useMemo(() => state.tokens.map((t) => t.text), [state.tokens]);
  const values = useMemo(() => COLOURS[colour].of(state), [state.tokens, state.hidden, colour]);
  const [low, high] = useMemo(
    () => extent(states.flatMap((one) => COLOURS[colour].of(one) ?? [])),
    [...states, colour],
  );
  const faults = faultsOf(state.error);
  const bound = Math.max(Math.abs(low), Math.abs(high));
  return html`<article class="card answer" aria-label=${`Answer of ${nameOf(model, choices)}`} aria-busy=${writing}>
    <header class="row between"><h2>${nameOf(model, choices)}</h2><${Copy} request=${state.request} /></header>
    ${
      state.status === 'idle'
        ? html`<p class="empty" style=${{ minHeight: '240px' }}>
          Choose an image and ask: the answer appears here.
        </p>`
        : html`
          ${
            state.error &&
            html`<div class="notice bad" role="alert">
              ${state.error.message}
              ${faults.length > 0 && html`<ul>${faults.map((f) => html`<li key=${f.pointer}>${f.detail}</li>`)}</ul>`}
            </div>`
          }
          ${
            other !== null &&
            html`<div class="notice warn row between" role="status">
              <span>This answer belongs to another ${other}.</span>
              <button class="small" onClick=${again}>Ask again</button>
            </div>`
          }
          ${state.warnings.map((warning) => html`<p class="notice warn">${warning.detail}</p>`)}
          <div class=${`${alone ? 'answer-wide' : ''} ${other === null ? '' : 'stale'}`}>
            <${Look} state=${state} states=${states} at=${at} />
            <div class="stack" style=${{ gap: '8px' }}>
              <div class="row between">
                <${Segmented}
                  label="Colour of tokens"
                  value=${colour}
                  onChange=${setColour}
                  options=${NAMES.map((name) => [name, COLOURS[name].label])}
                />
              </div>
              <p class="muted small-text">${HELP[colour]}</p>
              ${
                state.status === 'waiting'
                  ? html`<p class="muted" role="status">The model reads …</p>`
                  : html`
                    <${Tokens}
                      tokens=${texts}
                      values=${values}
                      low=${low}
                      high=${high}
                      map=${COLOURS[colour].map}
                      current=${at}
                      onPick=${(/** @type {number} */ i) => {
                        setPlaying(false);
                        setCurrent(i);
                      }}
                      label="Tokens of the answer"
                      text=${COLOURS[colour].text}
                    />
                    <div class="row between">
                      <${Scale}
                        map=${COLOURS[colour].map}
                        low=${number(COLOURS[colour].map === 'diverging' ? -bound : low, 2)}
                        high=${number(COLOURS[colour].map === 'diverging' ? bound : high, 2)}
                      />
                      <span class="row">
                        <button
                          class="small"
                          disabled=${writing || state.tokens.length === 0}
                          onClick=${() => {
                            setCurrent(null);
                            setPlaying(!playing);
                          }}
                        >
                          <${Icon} name=${playing ? 'pause' : 'play'} />
                          ${playing ? 'Stop' : 'Walk through'}
                        </button>
                      </span>
                    </div>
                    <${Token} token=${state.tokens[at ?? -1]} hidden=${state.hidden?.whole?.[at ?? -1]} />
                  `
              }
              <p class="sr" aria-live="polite">${state.status === 'done' ? `Answer: ${state.text}` : ''}</p>
            </div>
          </div>
          ${
            state.status === 'done' &&
            html`<div class=${`stack ${other === null ? '' : 'stale'}`}>
              <${Evidence} state=${state} states=${states} />
              <${Forgetting} state=${state} />
            </div>`
          }
        `
    }
  </article>`;
}

/**
 * The image that was asked about, under the map of a token or of the whole answer.
 * @param {{ state: State, states: State[], at: number | null }} props
 */
function Look({ state, states, at }) {
  const image = state.request?.images[0];
  const { source = 'attention', layers: asked = 'mean' } = state.request?.attention ?? {};
  const whole = at === null;
  const map = whole ? state.summary[0] : state.maps[at]?.[0];
  const of = states.filter((one) => one.request?.attention.source === source);
  const all = useMemo(
    () => span(of.flatMap((one) => one.maps.map((maps) => maps[0]))),
    of.map((one) => one.maps),
  );
  const [low, high] = whole ? span(of.map((one) => one.summary[0])) : all;
  const bottom = source === 'attention' && !whole ? 0 : low;
  const token = state.tokens[at ?? -1]?.text.trim();
  const layers = layersText(state.layers, asked);
  if (!image) return null;
  return html`<div class="look">
    <${HeatImage}
      src=${image}
      grid=${gridOf(map)}
      low=${bottom}
      high=${high}
      label=${`The image${map ? `, ${source} map of ${token ? `the token “${token}”` : 'the whole answer'}` : ''}`}
    />
    <div class="row between small-text">
      <span class="muted">
        ${
          token
            ? html`
              token <b class="mono">“${token}”</b> (${(at ?? 0) + 1} of ${state.tokens.length})
            `
            : 'mean over the answer'
        }
      </span>
      ${map && html`<${Scale} map="inferno" low=${number(bottom, 2)} high=${number(high, 2)} />`}
    </div>
    ${layers && html`<p class="muted small-text">${source === 'attention' ? 'Attention' : 'Shares'}: ${layers}.</p>`}
  </div>`;
}

/** @param {{ token: Api['TokenInfo'] | undefined, hidden: number | undefined }} props */
const Token = ({ token, hidden }) => html`<dl class="token-facts" aria-label="The token">
  ${
    token
      ? html`
        <div><dt>image</dt><dd>${percent(token.attention.image, 0)}</dd></div>
        <div><dt>question</dt><dd>${percent(token.attention.query, 0)}</dd></div>
        <div><dt>own text</dt><dd>${percent(token.attention.generated, 0)}</dd></div>
        <div><dt>focus</dt><dd>${number(token.focus ?? NaN)}</dd></div>
        <div><dt>probability</dt><dd>${percent(Math.exp(token.logprob))}</dd></div>
        ${
          typeof hidden === 'number' &&
          html`<div><dt>without image</dt><dd>${percent(Math.exp(token.logprob + hidden))}</dd></div>`
        }
      `
      : html`<div><dt>Point at a token, or use the arrow keys</dt><dd>${'\u00a0'}</dd></div>`
  }
</dl>`;

/**
 * What hiding the image does to the answer, on one scale for all that are side by side.
 * @param {{ state: State, states: State[] }} props
 */
function Evidence({ state, states }) {
  const { hidden, visual, timings } = state;
  return html`<section class="evidence" aria-label="Does the answer depend on the image?">
    <h3>Does the answer depend on the image?</h3>
    <${Dependence}
      found=${hidden?.found}
      error=${hidden?.error}
      worst=${worstOf(states.map((one) => one.hidden?.found))}
    />
    <p class="muted small-text tabular">
      ${
        visual &&
        `focus early ${number(visual.focus_early)}, late ${number(visual.focus_late)}, ` +
          `ratio ${number(visual.late_early_ratio ?? NaN)} · `
      }
      ${timings && `${number(timings.tokens_per_second)} tokens/s`}
    </p>
  </section>`;
}

/**
 * The forgetting curve: where each token's attention goes, from the first to the last.
 * @param {{ state: State }} props
 */
function Forgetting({ state }) {
  const layers = layersText(state.layers, state.request?.attention.layers ?? 'mean');
  const series = useMemo(() => sharesAlong(state.tokens), [state.tokens, theme.value]);
  return html`<${Chart}
    title="Forgetting curve"
    note=${`Share of attention along the answer${layers && `: ${layers}`}.`}
    series=${series}
    stacked=${true}
    text=${percent}
    range=${WHOLE}
    kind="token"
    height=${150}
  />`;
}

/** @param {{ request: import('../lib/asking.js').Request | undefined }} props */
const Copy = ({ request }) =>
  request &&
  html`<span class="row">
    <button class="small" onClick=${() => sayCopied(asCurl(request), 'The curl command')}>
      <${Icon} name="copy" />
      curl
    </button>
    <button class="small" onClick=${() => sayCopied(asPython(request), 'The Python program')}>
      <${Icon} name="copy" />
      Python
    </button>
  </span>`;
