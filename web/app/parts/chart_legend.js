// The values of a chart where the cursor is: only this is drawn anew while people point.
import { html } from '../lib/html.js';
import { xLabel, xText } from '../lib/plot.js';

/** Reads values: `index` is a series, `place` a row of the aligned data, or none for the newest point. */
export function reader(full, plan, data, stacked) {
  const lines = full.map((_, index) => plan.findIndex((p) => p.index === index && p.role === 'line') + 1);
  return (index, place) => {
    const one = full[index];
    const none = place === null || place === undefined;
    if (!stacked && !none) return data[lines[index]]?.[place];
    return one.y[none ? one.y.length - 1 : one.x.indexOf(data[0][place])];
  };
}

const told = (at) => at !== null && at !== undefined;

/** `at` is a signal with the place of the cursor. */
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
    ${told(place) && html`<li class="where">${xLabel[kind]} ${xText(xs[place], kind)}</li>`}
  </ul>`;
}

/** The same for ears, while the chart has the keyboard. */
export function Reading({ full, at, xs, kind, valueAt, text, box }) {
  const place = at.value;
  const values = () => full.map((one, i) => `${one.label} ${text(valueAt(i, place))}`);
  const heard = told(place) && document.activeElement === box.current;
  return html`<p class="sr" aria-live="polite">
    ${heard ? `${xLabel[kind]} ${xText(xs[place], kind)}: ${values().join(', ')}` : ''}
  </p>`;
}
