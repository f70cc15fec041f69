// One prompt with every response of its group, side by side, and the image under the token that is read.
import { html, memo, useEffect, useMemo, useState } from '../lib/html.js';
import { asError, list } from '../lib/api.js';
import { number, percent } from '../lib/format.js';
import { layersText } from '../lib/layers.js';
import { dataUrl, extent, gridOf, question, scoreResponse, span } from '../lib/maps.js';
import { theme } from '../lib/colour.js';
import { setQuery } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { sharesAlong, WHOLE } from '../lib/shares.js';
import { Badge, Field, Segmented, useLoad } from '../parts/common.js';
import { Chart } from '../parts/chart.js';
import { HeatImage } from '../parts/heat_image.js';
import { MapSourceSwitch } from '../parts/map_source.js';
import { Scale } from '../parts/scale.js';
import { Tokens } from '../parts/tokens.js';
import { ResponseDependence } from './run_dependence.js';

/**
 * What tokens may be coloured by.
 * @typedef {'focus' | 'weight' | 'advantage' | 'logprob'} ColourName
 * @typedef {{
 *   label: string, map: ColourMap, of: (response: Api['SampleResponse']) => number[] | null | undefined, help: string,
 * }} Colour
 *
 * @typedef {{ response: number, token: number | null }} Picked
 */

/** @type {Record<ColourName, Colour>} */
const COLOURS = {
  focus: {
    label: 'focus',
    map: 'viridis',
    of: (r) => r.focus,
    help: 'How close the state that reads the token is to the image.',
  },
  weight: {
    label: 'weight ψ',
    map: 'diverging',
    of: (r) => r.psi,
    help: 'More (orange) or less (violet) of the response’s credit than its mean.',
  },
  advantage: {
    label: 'shaped advantage',
    map: 'diverging',
    of: (r) => r.shaped_advantage,
    help: 'What the objective sees: orange is encouraged, violet discouraged.',
  },
  logprob: {
    label: 'log-prob',
    map: 'viridis',
    of: (r) => r.logprobs,
    help: 'How sure the policy was of the token.',
  },
};

const NAMES = /** @type {ColourName[]} */ (Object.keys(COLOURS));

/**
 * Models that can read the response: the base and the run's checkpoints. `nearest`: the last one that is not newer than
 * the policy that wrote the response; `exact`: that policy itself, where it was kept.
 * @param {Api['RunEntry']} run
 * @param {Api['SampleRecord']} record
 * @param {AbortSignal} signal
 */
async function readers(run, { step, group }, signal) {
  const checkpoints = await list('/v1/checkpoints', { query: { run: run.id }, most: 1000, signal });
  const sorted = checkpoints.sort((a, b) => a.step - b.step);
  // A step samples before it updates; held-out answers come after it.
  const updates = group.eval ? step : step - 1;
  const nearest = sorted.filter((c) => c.step <= updates).at(-1);
  const exact = updates <= 0 ? run.model : nearest?.step === updates ? nearest.id : null;
  /** @type {Options} */
  const options = [[run.model, `${run.model} (start of the run)`]];
  for (const { id, step: at } of sorted) options.push([id, `checkpoint at step ${at}`]);
  return { nearest: nearest?.id ?? run.model, exact, options };
}

/**
 * What the chosen model is to the response.
 * @param {Awaited<ReturnType<typeof readers>> | undefined} models
 * @param {string | undefined} chosen
 */
function readBy(models, chosen) {
  if (!models) return undefined;
  if (models.exact === null)
    return chosen === models.nearest
      ? 'The policy that wrote this response was not kept; this is the nearest one before it.'
      : 'Another model than the one that wrote this response, which was not kept.';
  return models.exact === chosen
    ? 'The policy that wrote this response.'
    : 'Another model than the one that wrote this response.';
}

/** Milliseconds that a token is read before the address names it. */
const SETTLED = 400;

/**
 * What the address names: `2.17` is token 17 of response 2, both from 1.
 * @param {string | undefined} text
 * @returns {Picked}
 */
function pickedIn(text) {
  const [response, token] = (text ?? '').split('.').map(Number);
  return { response: response >= 1 ? response - 1 : 0, token: token >= 1 ? token - 1 : null };
}

/** @param {Picked} picked */
const nameOf = ({ response, token }) =>
  token === null ? (response > 0 ? String(response + 1) : '') : `${response + 1}.${token + 1}`;

/**
 * A place that the group has.
 * @param {Picked} picked
 * @param {Api['SampleGroup']} group
 * @returns {Picked}
 */
function within({ response, token }, { responses }) {
  const at = Math.max(0, Math.min(response, responses.length - 1));
  return { response: at, token: token !== null && token < (responses[at]?.tokens.length ?? 0) ? token : null };
}

/** @param {{ run: Api['RunEntry'], record: Api['SampleRecord'], query: PageProps['query'] }} props */
export function Group({ run, record, query }) {
  const { verdict = '' } = query;
  const { group } = record;
  const filled = useMemo(
    () =>
      NAMES.filter((name) =>
        group.responses.some((r) => {
          const values = COLOURS[name].of(r) ?? [];
          return values.length > 0 && (name === 'focus' || values.some((v) => v !== 0));
        }),
      ),
    [record],
  );
  /** @type {ColourName | undefined} */
  const by = filled.find((name) => name === query.colour) ?? filled[0];
  const [pointed, setPicked] = useState(() => pickedIn(query.at));
  const picked = useMemo(() => within(pointed, group), [pointed, group]);
  useEffect(() => {
    const name = nameOf(picked);
    if (name === (query.at ?? '')) return undefined;
    const timer = setTimeout(() => setQuery({ at: name }), SETTLED);
    return () => clearTimeout(timer);
  }, [picked]);
  const [source, setSource] = useState(/** @type {Api['MapSource']} */ ('attention'));
  const [reader, setReader] = useState(/** @type {string | null} */ (null));
  const [models] = useLoad((signal) => readers(run, record, signal), [run.id, record.id, run.last_checkpoint]);
  const model = reader ?? models?.nearest;
  const hasImage = group.images.length > 0;
  const why = refusal();
  const [scored, fault, , reading] = useLoad(
    async () =>
      hasImage && why === null && model && group.responses[picked.response]
        ? {
            of: picked.response,
            id: record.id,
            answer: await scoreResponse(record, picked.response, model, source),
          }
        : null,
    [record.id, picked.response, model, source, hasImage],
  );
  const answer = scored?.of === picked.response && scored?.id === record.id ? scored.answer : null;
  const [low, high] = useMemo(
    () => (by ? extent(group.responses.flatMap((r) => COLOURS[by].of(r) || [])) : [0, 1]),
    [record, by],
  );
  const bound = Math.max(Math.abs(low), Math.abs(high));
  const shown = group.responses
    .map((response, index) => ({ response, index }))
    .filter(({ response }) => !verdict || response.correct === (verdict === 'right'));
  return html`<div class="group">
    <div class="group-look card">
      <${Look} group=${group} answer=${answer} picked=${picked} reading=${reading} fault=${fault} source=${source} />
      <p><b>${question(group.prompt)}</b></p>
      <p class="muted">Ground truth: <b class="mono">${group.answer}</b></p>
      ${hasImage && why !== null && html`<p class="notice">No heat map: ${why}</p>`}
      ${
        hasImage &&
        why === null &&
        html`<div class="stack" style=${{ gap: '10px', marginTop: '12px' }}>
          <${MapSourceSwitch} value=${source} onChange=${setSource} />
          <${Field} label="Read by" help=${readBy(models, model)}>
            <select aria-label="Model that reads the response" onChange=${(e) => setReader(e.currentTarget.value)}>
              ${models?.options.map(
                ([id, text]) => html`<option value=${id} selected=${id === model}>${text}</option>`,
              )}
            </select>
          </${Field}>
        </div>`
      }
    </div>
    <div class="stack">
      <div class="toolbar" style=${{ margin: 0 }}>
        ${
          by &&
          html`
            <${Segmented}
              label="Colour of tokens"
              value=${by}
              onChange=${(/** @type {ColourName} */ name) => setQuery({ colour: name === filled[0] ? '' : name })}
              options=${filled.map((name) => [name, COLOURS[name].label])}
            />
            <${Scale}
              map=${COLOURS[by].map}
              low=${number(COLOURS[by].map === 'diverging' ? -bound : low)}
              high=${number(COLOURS[by].map === 'diverging' ? bound : high)}
            />
          `
        }
      </div>
      ${
        by &&
        html`<p class="muted small-text">
          ${COLOURS[by].help} Point at a token, or walk with the arrow keys: the image shows where the model
          looks.
        </p>`
      }
      <div class="responses">
        ${shown.map(
          ({ response, index }) => html`<${Response}
            key=${index}
            response=${response}
            index=${index}
            by=${by}
            low=${low}
            high=${high}
            current=${picked.response === index ? picked.token : null}
            pick=${setPicked}
          />`,
        )}
      </div>
      ${answer && html`<${AlongResponse} answer=${answer} index=${picked.response} />`}
      ${
        answer &&
        model &&
        html`<${ResponseDependence}
          key=${`${record.id} ${picked.response} ${model}`}
          record=${record}
          index=${picked.response}
          model=${model}
        />`
      }
    </div>
  </div>`;
}

/**
 * The image, with the map of the token that is pointed at.
 * @param {{
 *   group: Api['SampleGroup'], answer: Api['ScoredResponse'] | null, picked: Picked, reading: boolean | undefined,
 *   fault: unknown, source: Api['MapSource'],
 * }} props
 */
function Look({ group, answer, picked, reading, fault, source }) {
  const aligned = answer && answer.tokens.length === group.responses[picked.response].tokens.length;
  const maps = useMemo(
    () => new Map((answer?.attention.tokens ?? []).map((entry) => [entry.index, entry.maps])),
    [answer],
  );
  const spans = useMemo(
    () => group.images.map((_, i) => span([...maps.values()].map((entry) => entry[i]))),
    [maps, group],
  );
  const at = picked.token === null || !aligned ? undefined : maps.get(picked.token);
  const token = picked.token === null ? null : group.responses[picked.response].tokens[picked.token];
  const read = token === null ? 'the whole response' : `the token “${token.trim()}”`;
  const mean = answer?.attention.summary ?? [];
  const layers = layersText(answer?.attention.layers, 'mean');
  if (group.images.length === 0) return html`<p class="empty">This prompt has no image.</p>`;
  return html`<div class="look-now">
    ${group.images.map((image, i) => {
      const map = at ? at[i] : mean[i];
      const [low, high] = at ? spans[i] : span([map]);
      return html`
        <${HeatImage}
          key=${i}
          src=${dataUrl(image)}
          grid=${gridOf(map)}
          low=${at && source === 'attention' ? 0 : low}
          high=${high}
          label=${`Image ${i + 1} of the prompt${map ? `, ${source} map of ${read}` : ''}`}
        />
        ${
          map &&
          html`<div class="row between small-text" style=${{ margin: '6px 0 10px' }}>
            <span class="muted">
              ${
                token === null
                  ? 'mean over the response'
                  : html`
                    token <b class="mono">“${token.trim() || '␣'}”</b>
                    (${(picked.token ?? 0) + 1} of ${group.responses[picked.response].tokens.length})
                  `
              }
            </span>
            <${Scale}
              map="inferno"
              low=${number(at && source === 'attention' ? 0 : low, 2)}
              high=${number(high, 2)}
            />
          </div>`
        }
      `;
    })}
    ${layers && html`<p class="muted small-text">${source === 'attention' ? 'Attention' : 'Shares'}: ${layers}.</p>`}
    ${reading && !answer && html`<p class="muted small-text" role="status">Reading the response with the model …</p>`}
    ${fault !== undefined && html`<p class="notice warn">No heat map: ${asError(fault).message}</p>`}
    ${
      answer &&
      !aligned &&
      html`<p class="notice warn">This model cuts the response into other tokens; only the mean is shown.</p>`
    }
  </div>`;
}

/**
 * @typedef {{
 *   response: Api['SampleResponse'], index: number, by: ColourName | undefined, low: number, high: number,
 *   current: number | null, pick: (picked: Picked) => void,
 * }} ResponseProps
 */

/** Others of the group stay as they are while people walk through one. */
const Response = memo((/** @type {ResponseProps} */ { response, index, by, low, high, current, pick }) => {
  const { reward, reward_parts: parts, advantage, phi, correct, cut_off: cut } = response;
  const values = by ? COLOURS[by].of(response) : null;
  const value = current !== null && current !== undefined ? values?.[current] : null;
  return html`<article class="card response" aria-label=${`Response ${index + 1}`}>
    <div class="row">
      ${typeof correct === 'boolean' && html`<${Badge} state=${correct ? 'right' : 'wrong'} />`}
      ${cut && html`<span class="badge plain">cut off</span>`}
      <span class="muted small-text">
        reward <b>${number(reward)}</b>
        ${
          Object.keys(parts).length > 1
            ? ` (${Object.entries(parts)
                .map(([k, v]) => `${k} ${number(v)}`)
                .join(', ')})`
            : ''
        }
      </span>
      ${advantage !== 0 && html`<span class="muted small-text">advantage <b>${number(advantage)}</b></span>`}
      ${
        phi !== 0 &&
        html`<span class="muted small-text" title="Inter-trajectory weight: 1 + φ multiplies the advantage">
          φ <b>${number(phi)}</b>
        </span>`
      }
      <span class="muted small-text value">
        ${
          by && typeof value === 'number'
            ? html`
              ${COLOURS[by].label} <b>${number(value)}</b>
            `
            : `${response.tokens.length} tokens`
        }
      </span>
    </div>
    <${Tokens}
      tokens=${response.tokens}
      values=${values}
      low=${low}
      high=${high}
      map=${by ? COLOURS[by].map : 'viridis'}
      current=${current}
      onPick=${(/** @type {number} */ token) => pick({ response: index, token })}
      label=${`Tokens of response ${index + 1}`}
      text=${(/** @type {number} */ v) => `${by ? COLOURS[by].label : ''} ${number(v)}`}
    />
  </article>`;
});

/**
 * Attention shares along the response: how the model turns from the image to its own words.
 * @param {{ answer: Api['ScoredResponse'], index: number }} props
 */
function AlongResponse({ answer, index }) {
  const layers = layersText(answer.attention.layers, 'mean');
  const series = useMemo(() => sharesAlong(answer.tokens), [answer, theme.value]);
  return html`<div class="card">
    <${Chart}
      title=${`Attention along response ${index + 1}`}
      note=${`Which part of the context each token was predicted from${layers && `: ${layers}`}.`}
      series=${series}
      stacked=${true}
      text=${percent}
      range=${WHOLE}
      kind="token"
      height=${170}
    />
  </div>`;
}
