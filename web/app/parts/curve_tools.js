// What people may turn on every chart of a page.
import { html } from '../lib/html.js';
import { Segmented } from './common.js';

/**
 * @param {{
 *   kind: XKind, setKind: (kind: XKind) => void, weight: number, setWeight: (weight: number) => void, children?: Child,
 * }} props
 */
export const CurveTools = ({ kind, setKind, weight, setWeight, children }) => html`<div class="toolbar">
  <${Segmented}
    label="Horizontal axis"
    value=${kind}
    onChange=${setKind}
    options=${[
      ['step', 'Steps'],
      ['time', 'Time'],
      ['tokens', 'Tokens'],
    ]}
  />
  <label class="inline">
    Smoothing${' '}
    <input
      type="range"
      min="0"
      max="0.98"
      step="0.02"
      value=${weight}
      onInput=${(e) => setWeight(Number(e.currentTarget.value))}
    />
    <output class="tabular" style=${{ minWidth: '2.5em' }}>${weight ? weight.toFixed(2) : 'off'}</output>
  </label>
  ${children}
</div>`;
