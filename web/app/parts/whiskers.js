// Means with their 95% intervals, a line each, on one axis.
import { html } from '../lib/html.js';

/**
 * `from`, `to`: the ends of the axis; `zero`: mark this place with a line.
 * @typedef {{
 *   key: string, label: Child, small?: string, mean: number, low?: number | undefined, high?: number | undefined,
 *   text: string, colour?: string, onPick?: () => void, picked?: boolean,
 * }} Whisker
 */

/**
 * @param {{ label: string, items: Whisker[], from: number, to: number, zero?: number, ends: [string, string] }} props
 */
export function Whiskers({ label, items, from, to, zero, ends }) {
  /** @param {number} value */
  const at = (value) => Math.min(100, Math.max(0, (100 * (value - from)) / (to - from || 1)));
  return html`<div class="whiskers" role="list" aria-label=${label}>
    ${items.map(
      ({ key, label: name, small, mean, low, high, text, colour, onPick, picked }) => html`<div
        class="whisker"
        role="listitem"
        key=${key}
      >
        <span class="name">
          ${
            onPick
              ? html`<button type="button" class="small" aria-pressed=${Boolean(picked)} onClick=${onPick}>
                ${name}
              </button>`
              : name
          }
          ${small && html`<small class="muted">${small}</small>`}
        </span>
        <span class="axis" aria-hidden="true">
          ${zero !== undefined && html`<i class="zero" style=${{ left: `${at(zero)}%` }}></i>`}
          ${
            low !== undefined &&
            high !== undefined &&
            html`<i
              class="line"
              style=${{ left: `${at(low)}%`, width: `${at(high) - at(low)}%`, background: colour }}
            ></i>`
          }
          <i class="mean" style=${{ left: `${at(mean)}%`, background: colour }}></i>
        </span>
        <b class="tabular">${text}</b>
      </div>`,
    )}
    <div class="whisker ends-row" aria-hidden="true">
      <span></span>
      <span class="axis-ends"><small>${ends[0]}</small><small>${ends[1]}</small></span>
      <span></span>
    </div>
  </div>`;
}
