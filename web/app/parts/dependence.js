// What hiding the image does to an answer: causes, not correlations.
import { html } from '../lib/html.js';
import { DRAWS, spreadOf, verdict } from '../lib/dependence.js';
import { number } from '../lib/format.js';

/**
 * `worst`: the largest change of all that are compared, which fills a bar.
 * @param {{ label: string, value: number, worst: number, range?: number[] }} props
 */
function Bar({ label, value, worst, range }) {
  /** @param {number} change */
  const at = (change) => (Math.max(0, -change) / worst) * 100;
  const [most, least] = range ? [Math.min(...range), Math.max(...range)] : [value, value];
  return html`<div class="evidence-row">
    <span>${label}</span>
    <span class="bar bad">
      <i style=${{ width: `${at(value)}%` }}></i>
      ${range && html`<s style=${{ left: `${at(least)}%`, width: `${Math.max(0.6, at(most) - at(least))}%` }}></s>`}
    </span>
    <b>
      ${number(value)}
      ${range && html`<small class="muted">${' '}± ${number(spreadOf(range).deviation)}</small>`}
    </b>
  </div>`;
}

/** @param {(import('../lib/dependence.js').Dependence | null | undefined)[]} all */
export const worstOf = (all) =>
  Math.max(1e-9, ...all.flatMap((one) => (one ? [one.whole, one.top ?? 0, ...one.random].map(Math.abs) : [])));

/**
 * @param {{
 *   found: import('../lib/dependence.js').Dependence | null | undefined, error?: Error | undefined, worst: number,
 * }} props
 */
export function Dependence({ found, error, worst }) {
  const told = found && verdict(found);
  return html`
    <p class="muted small-text">
      Change of the answer’s log-prob (in nats) when cells of the image are hidden. If attention is meaningful, hiding
      the most attended cells hurts more than hiding random ones: ${DRAWS} draws of them, the mean with its spread.
    </p>
    ${
      error
        ? html`<p class="notice warn">${error.message}</p>`
        : !found
          ? html`<p class="muted small-text" role="status">Hiding …</p>`
          : html`
            <${Bar} label="all of it" value=${found.whole} worst=${worst} />
            ${
              found.top !== undefined &&
              html`<${Bar} label="most attended quarter" value=${found.top} worst=${worst} />`
            }
            ${
              found.random.length > 0 &&
              html`<${Bar}
                label="random quarter"
                value=${spreadOf(found.random).mean}
                worst=${worst}
                range=${found.random}
              />`
            }
            <p class="verdict" role="status">
              ${told ?? html`<span class="muted">Drawing ${found.random.length} of ${DRAWS} …</span>`}
            </p>
          `
    }
  `;
}
