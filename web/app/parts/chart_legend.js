// The values of a chart where the cursor is: only this is drawn anew while people point.
import { html } from '../lib/html.js';
import { xLabel, xText } from '../lib/plot.js';

/**
 * Reads values: `index` is a series, `place` a row of the aligned data, or none for the newest point.
 * @param {Series[]} full
 * @param {import('../lib/plot.js').Plan} plan
 * @param {AlignedData} data
 * @param {boolean} stacked
 * @returns {ReadValue}
 */
export function reader(full, plan, data, stacked) {
  const lines = full.map((_, index) => plan.findIndex((p) => p.index === index && p.role === 'line') + 1);
  return (index, place) => {
    const one = full[index];
    if (!isPlace(place)) return one.y[one.y.length - 1];
    return stacked ? one.y[one.x.indexOf(data[0][place])] : data[lines[index]]?.[place];
  };
}

/**
 * @typedef {{
 *   full: Series[], at: { value: number | null | undefined }, xs: ArrayLike<number>, kind: XKind, valueAt: ReadValue,
 *   text: (value: number | null | undefined) => string,
 * }} Shown
 */

/**
 * @param {number | null | undefined} place
 * @returns {place is number}
 */
const isPlace = (place) => place !== null && place !== undefined;

/**
 * `at` is a signal with the place of the cursor.
 * @param {Shown} props
 */
export function Legend({ full, at, xs, kind, valueAt, text }) {
  const place = at.value;
  return html`<ul class="legend">
    ${full.map(
      (one, i) => html`<li key=${one.label} title=${one.title || ''}>
        <i style=${{ background: one.colour }} class=${one.dash ? 'dashed' : ''}></i>
        <span>${one.label}</span>
        <b>${text(valueAt(i, place))}</b>
      </li>`,
    )}
    ${isPlace(place) && html`<li class="where">${xLabel[kind]} ${xText(xs[place], kind)}</li>`}
  </ul>`;
}

/**
 * The same for ears, while the chart has the keyboard.
 * @param {Shown & { box: { current: HTMLElement | null } }} props
 */
export function Reading({ full, at, xs, kind, valueAt, text, box }) {
  const place = at.value;
  const values = () => full.map((one, i) => `${one.label} ${text(valueAt(i, place))}`);
  const heard = isPlace(place) && document.activeElement === box.current;
  return html`<p class="sr" aria-live="polite">
    ${heard ? `${xLabel[kind]} ${xText(xs[place], kind)}: ${values().join(', ')}` : ''}
  </p>`;
}
