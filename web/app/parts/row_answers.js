// A row of an evaluation with its answers, token by token, and the image under the token that is read: of one run, or
// of two side by side with one scale for both.
import { html, useMemo, useState } from '../lib/html.js';
import { asError, get } from '../lib/api.js';
import { number } from '../lib/format.js';
import { layersText } from '../lib/layers.js';
import { dataUrl, extent, gridOf, span } from '../lib/maps.js';
import { Badge, Segmented, useLoad } from './common.js';
import { HeatImage } from './heat_image.js';
import { MapSourceSwitch } from './map_source.js';
import { Scale } from './scale.js';
import { Tokens } from './tokens.js';

/**
 * The answers of a run to the row.
 * @typedef {{ run: string, name: string, step: number | null | undefined, responses: Api['EvalResponse'][] }} Side
 * @typedef {'focus' | 'logprob'} ColourName
 */

/** @type {Record<ColourName, { label: string, of: (token: Api['ScoredToken']) => number | null | undefined }>} */
const COLOURS = {
  focus: { label: 'focus', of: (token) => token.focus },
  logprob: { label: 'log-prob', of: (token) => token.logprob },
};
const NAMES = /** @type {ColourName[]} */ (Object.keys(COLOURS));

/**
 * @param {Side} side
 * @param {number} row
 * @param {number} response
 * @param {Api['MapSource']} source
 * @param {AbortSignal} signal
 */
const read = ({ run, step }, row, response, source, signal) =>
  get('/v1/runs/{id}/eval-rows/{row}/maps', {
    path: { id: run, row },
    query: { response, maps: 'tokens', source, ...(typeof step === 'number' ? { step } : {}) },
    signal,
  });

/** @param {{ row: number, sides: Side[] }} props */
export function RowAnswers({ row, sides }) {
  const [source, setSource] = useState(/** @type {Api['MapSource']} */ ('attention'));
  const [colour, setColour] = useState(/** @type {ColourName} */ ('focus'));
  const [response, setResponse] = useState(0);
  const most = Math.max(...sides.map((side) => side.responses.length));
  const [found] = useLoad(
    (signal) =>
      Promise.all(
        sides.map((side) =>
          response < side.responses.length
            ? read(side, row, response, source, signal).then(
                (maps) => ({ maps, fault: null }),
                (error) => ({ maps: null, fault: asError(error).message }),
              )
            : { maps: null, fault: 'This run gave fewer answers.' },
        ),
      ),
    [row, response, source, ...sides.flatMap(({ run, step }) => [run, step])],
  );
  const scored = (found ?? []).flatMap(({ maps }) => (maps ? [maps.scored] : []));
  const [low, high] = extent(scored.flatMap((one) => one.tokens.map(COLOURS[colour].of)));
  // One scale for both sides: of the maps of whole answers, and of those of single tokens.
  const heat = useMemo(
    () => ({
      whole: span(scored.flatMap((one) => one.attention.summary ?? [])),
      tokens: span(scored.flatMap((one) => (one.attention.tokens ?? []).flatMap((entry) => entry.maps))),
    }),
    [found],
  );
  return html`<div class="row-answers">
    <div class="toolbar">
      <${Segmented}
        label="Colour of tokens"
        value=${colour}
        onChange=${setColour}
        options=${NAMES.map((name) => [name, COLOURS[name].label])}
      />
      <${Scale} map="viridis" low=${number(low)} high=${number(high)} />
      <${MapSourceSwitch} value=${source} onChange=${setSource} />
      ${
        most > 1 &&
        html`<label class="inline">
          Answer${' '}
          <select value=${response} onChange=${(e) => setResponse(Number(e.currentTarget.value))}>
            ${Array.from({ length: most }, (_, i) => html`<option value=${i}>${i + 1} of ${most}</option>`)}
          </select>
        </label>`
      }
    </div>
    <div class="answer-pair">
      ${sides.map(
        (side, i) => html`<${Answer}
          key=${`${side.run} ${side.step}`}
          side=${side}
          response=${side.responses[response]}
          read=${found?.[i] ?? null}
          colour=${colour}
          range=${[low, high]}
          heat=${heat}
          source=${source}
        />`,
      )}
    </div>
  </div>`;
}

/**
 * @param {{
 *   side: Side, response: Api['EvalResponse'] | undefined,
 *   read: { maps: Api['EvalRowMaps'] | null, fault: string | null } | null,
 *   colour: ColourName, range: [number, number], source: Api['MapSource'],
 *   heat: { whole: [number, number], tokens: [number, number] },
 * }} props
 */
function Answer({ side, response, read: found, colour, range, heat, source }) {
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const maps = found?.maps;
  const tokens = useMemo(() => maps?.scored.tokens.map((token) => token.text) ?? [], [maps]);
  const values = useMemo(() => maps?.scored.tokens.map(COLOURS[colour].of), [maps, colour]);
  const ofTokens = useMemo(
    () => new Map((maps?.scored.attention.tokens ?? []).map((entry) => [entry.index, entry.maps])),
    [maps],
  );
  const shown = (at === null ? undefined : ofTokens.get(at)) ?? maps?.scored.attention.summary ?? [];
  const token = at === null ? null : tokens[at];
  const [coldest, high] = token === null ? heat.whole : heat.tokens;
  const low = token !== null && source === 'attention' ? 0 : coldest;
  const under = token === null ? 'the whole answer' : `the token “${token.trim()}”`;
  const ratio = response?.focus ? response.focus.late / response.focus.early : null;
  const exact = !maps || maps.model_step === undefined || maps.model_step === null || maps.model_step === maps.step;
  return html`<article class="card" aria-label=${`Answer of ${side.name}`}>
    <div class="row">
      <h3 class="grow">${side.name}</h3>
      ${typeof response?.correct === 'boolean' && html`<${Badge} state=${response.correct ? 'right' : 'wrong'} />`}
      ${response?.cut_off && html`<span class="badge plain">cut off</span>`}
    </div>
    ${
      response &&
      html`<p class="muted small-text">
        reward <b>${number(response.reward)}</b>
        ${response.focus && html` · focus <b>${number(response.focus.mean)}</b>, late / early <b>${number(ratio)}</b>`}
        ${response.attention_image && html` · attention to the image <b>${number(response.attention_image.mean)}</b>`}
      </p>`
    }
    ${maps?.images.map(
      (image, i) => html`<div class="answer-look" key=${i}>
        <${HeatImage}
          src=${dataUrl(image)}
          grid=${gridOf(shown[i])}
          low=${low}
          high=${high}
          label=${`Image ${i + 1}, ${source} of ${under}`}
        />
      </div>`,
    )}
    ${
      maps &&
      maps.images.length > 0 &&
      html`<p class="muted small-text">
        ${token === null ? 'Mean over the answer' : html`Token <b class="mono">“${token.trim() || '␣'}”</b>`}
        ${' '}from ${number(low, 2)} to ${number(high, 2)}; ${layersText(maps.scored.attention.layers, 'mean')}.
      </p>`
    }
    ${
      maps
        ? html`<${Tokens}
          tokens=${tokens}
          values=${values}
          low=${range[0]}
          high=${range[1]}
          current=${at}
          onPick=${setAt}
          label=${`Tokens of ${side.name}`}
          text=${(/** @type {number} */ v) => `${COLOURS[colour].label} ${number(v)}`}
        />`
        : html`<p class="mono answer-text">${response?.text}</p>`
    }
    ${!found && html`<p class="muted small-text" role="status">Reading the answer with its model …</p>`}
    ${found?.fault && html`<p class="notice warn">No heat map: ${found.fault}</p>`}
    ${
      !exact &&
      html`<p class="muted small-text">
        Read by the checkpoint of step ${maps.model_step}: the one of step ${maps.step} was not kept.
      </p>`
    }
  </article>`;
}
