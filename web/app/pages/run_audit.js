// An audit: what the answers depend on the image for, whether focus finds it, and what visual weights are likely to
// gain.
import { html } from '../lib/html.js';
import { get } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { number, percent } from '../lib/format.js';
import { Figures, useLoad } from '../parts/common.js';
import { Whiskers } from '../parts/whiskers.js';

/**
 * What a line of the table says, its key, and how it is shown.
 * @type {[string, string, (value: number) => string][]}
 */
const LINES = [
  ['Rank correlation of focus with dependency', 'spearman', number],
  ['… of the predicting state', 'spearman_predicting', number],
  ['AUC of focus', 'auc', number],
  ['… of the predicting state', 'auc_predicting', number],
  ['… in the first third', 'auc_early', number],
  ['… in the middle third', 'auc_middle', number],
  ['… in the last third', 'auc_late', number],
  ['Tokens that depend on the image', 'dependent_mean', percent],
  ['… in the first third', 'dependent_early', percent],
  ['… in the last third', 'dependent_late', percent],
  ['Dependency in the first third (nats)', 'dependency_early', number],
  ['Dependency in the last third (nats)', 'dependency_late', number],
  ['Gradient variance on other tokens', 'independent_gradient', percent],
];

/** How arms of the experiment are called. @type {Record<string, string>} */
const ARMS = {
  vgpo: 'VGPO',
  predicting: 'VGPO, focus of the predicting state',
  'oracle-intra': 'weights by true dependency',
};

/**
 * What an audit has found so far; nothing for other evaluations.
 * @param {{ run: Api['RunEntry'], news: number }} props
 */
export function Audit({ run, news }) {
  const [found] = useLoad(
    (signal) => get('/v1/runs/{id}/audit', { path: { id: run.id }, signal }),
    [run.id, news, epoch.value],
  );
  if (!found?.forecast) return null;
  /** @param {string} key */
  const of = (key) => found.metrics[`audit/${key}`];
  return html`<section class="card audit" aria-label="Audit">
    <h2>Audit: what do the answers depend on the image for?</h2>
    <p class="notice" style=${{ marginBottom: '14px' }}>${found.forecast.text}</p>
    <${Figures}
      items=${[
        [
          'Depend on the image',
          percent(of('dependent_mean')),
          `of tokens: ${percent(of('dependent_early'))} early, ${percent(of('dependent_late'))} late`,
        ],
        ['Focus finds them', number(of('auc')), 'AUC; 0.5 is chance'],
        ['Predicting state', number(of('auc_predicting')), 'AUC of its focus'],
        ['Rank correlation', number(of('spearman')), 'of focus with dependency'],
        ['Gradient elsewhere', percent(of('independent_gradient')), 'of its variance, on other tokens'],
      ]}
    />
    <div class="evaluation-pair">
      <${Gains} gains=${found.forecast.gains} />
      <div class="scroll" tabindex=${0} role="region" aria-label="What the audit measured">
        <table>
          <thead>
            <tr><th></th><th>all answers</th><th>right</th><th>wrong</th></tr>
          </thead>
          <tbody>
            ${LINES.map(
              ([name, key, show]) => html`<tr key=${key}>
                <th scope="row">${name}</th>
                ${['', '_right', '_wrong'].map((part) => html`<td class="tabular">${show(of(`${key}${part}`))}</td>`)}
              </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </div>
  </section>`;
}

/** The forecast by arm, on one axis. @param {{ gains: Api['GainForecast'][] }} props */
function Gains({ gains }) {
  if (gains.length === 0) return null;
  const most = Math.max(1, ...gains.flatMap(({ low, high }) => [Math.abs(low), Math.abs(high)]));
  return html`<div>
    <h3>Points of accuracy over DAPO, forecast</h3>
    <${Whiskers}
      label="Forecast by arm"
      from=${-most}
      to=${most}
      zero=${0}
      ends=${[`−${number(most)}`, `+${number(most)}`]}
      items=${gains.map(({ arm, gain, low, high }) => ({
        key: arm,
        label: ARMS[arm] ?? arm,
        mean: gain,
        low,
        high,
        text: `${gain < 0 ? '−' : '+'}${number(Math.abs(gain))}`,
      }))}
    />
  </div>`;
}
