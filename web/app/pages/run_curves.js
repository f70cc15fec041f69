// The live curves of a run.
import { html, useMemo, useState } from '../lib/html.js';
import { address } from '../lib/api.js';
import { isFinal } from '../lib/runs.js';
import { theme } from '../lib/colour.js';
import { chartSeries, keysOf, others, SECTIONS } from '../lib/curves.js';
import { fileName } from '../lib/download.js';
import { inUnit } from '../lib/format.js';
import { Chart } from '../parts/chart.js';
import { useCloser } from '../parts/closer.js';
import { CurveTools } from '../parts/curve_tools.js';
import { FocusMap } from '../parts/focus_map.js';
import { Empty, Failure, Loading } from '../parts/common.js';
import { Icon } from '../parts/icon.js';

/**
 * @typedef {import('../lib/series.js').RunSeries} RunSeries
 * @typedef {import('../lib/curves.js').ChartPlan} ChartPlan
 */

/** @param {{ run: Api['RunEntry'], data: RunSeries }} props */
export function Curves({ run, data }) {
  const [kind, setKind] = useState(/** @type {XKind} */ ('step'));
  const [weight, setWeight] = useState(0);
  data.version.value;
  if (data.state.value === 'failed') return html`<${Failure} error=${data.error} again=${() => data.load()} />`;
  if (data.state.value === 'loading') return html`<${Loading} what="Reading the curves" height=${320} />`;
  if (data.map.size === 0) {
    return html`<${Empty}
      icon="play"
      title=${isFinal(run.state) ? 'Nothing was measured' : 'Waiting for the first step'}
    >
      <p>
        ${
          run.state === 'queued'
            ? 'The job waits for a worker.'
            : isFinal(run.state)
              ? 'The job ended before its first step; its events tell why.'
              : 'Curves appear here as they are measured.'
        }
      </p>
    </${Empty}>`;
  }
  const rest = others(data);
  /** @param {ChartPlan} one */
  const chart = (one) =>
    keysOf(data, one).length > 0 &&
    html`<div class="card" key=${one.title}>
      <${OneChart} run=${run} data=${data} chart=${one} kind=${kind} weight=${weight} />
    </div>`;
  return html`
    <${CurveTools} kind=${kind} setKind=${setKind} weight=${weight} setWeight=${setWeight}>
      <span class="grow"></span>
      <a
        class="button"
        href=${address('/v1/runs/{id}/metrics.csv', { path: { id: run.id } })}
        download=${`${fileName(run.name)}-metrics.csv`}
      >
        <${Icon} name="download" />
        All points (CSV)
      </a>
    </${CurveTools}>
    ${SECTIONS.map(({ title, note, charts }) => {
      const drawn = charts.map(chart).filter(Boolean);
      return (
        drawn.length > 0 &&
        html`<section class="section" key=${title} aria-label=${title}>
          <div class="title"><h2>${title}</h2><p class="muted">${note}</p></div>
          ${title === 'Looking' && html`<${FocusMap} run=${run} />`}
          <div class="grid-charts">${drawn}</div>
        </section>`
      );
    })}
    ${
      rest.length > 0 &&
      html`<details class="section">
        <summary>${rest.length} more metrics</summary>
        <div class="grid-charts" style=${{ marginTop: '10px' }}>
          ${rest.map((key) => {
            const { description, unit } = data.get(key) ?? {};
            return chart({ title: key, note: description, keys: [[key, key]], text: (v) => inUnit(v, unit) });
          })}
        </div>
      </details>`
    }
  `;
}

/** @param {{ run: Api['RunEntry'], data: RunSeries, chart: ChartPlan, kind: XKind, weight: number }} props */
function OneChart({ run, data, chart, kind, weight }) {
  const [part, setPart] = useState(/** @type {import('../lib/pan.js').Part | null} */ (null));
  const all = useMemo(() => [data], [data]);
  const [near] = useCloser(all, keysOf(data, chart), kind, part);
  const series = useMemo(() => chartSeries(near, chart, kind), [near, kind, theme.value]);
  return html`<${Chart}
    title=${chart.title}
    note=${chart.note}
    series=${series}
    kind=${kind}
    text=${chart.text}
    onRange=${setPart}
    weight=${chart.stacked ? 0 : weight}
    stacked=${chart.stacked}
    range=${chart.range}
    sync=${`run-${run.id}`}
  />`;
}
