// Any number of runs on one chart, and what their settings disagree on.
import { html, useEffect, useMemo, useState } from '../lib/html.js';
import { get } from '../lib/api.js';
import { comparisons, dropComparison, saveComparison } from '../lib/comparisons.js';
import { epoch } from '../lib/live.js';
import { headlines } from '../lib/metrics.js';
import { RunSeries, xs } from '../lib/series.js';
import { series as colourOf, theme } from '../lib/colour.js';
import { inUnit, number, percent } from '../lib/format.js';
import { href, setQuery } from '../lib/router.js';
import { differences, show } from '../lib/settings.js';
import { askFor, say } from '../parts/ask.js';
import { Chart } from '../parts/chart.js';
import { useCloser } from '../parts/closer.js';
import { CurveTools } from '../parts/curve_tools.js';
import { Badge, Empty, Failure, Loading, useLoad } from '../parts/common.js';
import { Icon } from '../parts/icon.js';

/**
 * Series of several runs, as one object that lives as long as the choice of runs.
 * @param {string[]} ids
 */
function useSeries(ids) {
  const all = useMemo(() => ids.map((id) => new RunSeries(id)), [ids.join(',')]);
  useEffect(() => () => all.forEach((one) => one.close()), [all]);
  for (const one of all) one.version.value;
  return all;
}

/** @param {PageProps} props */
export default function Compare({ query }) {
  const ids = useMemo(() => (query.runs || '').split(',').filter(Boolean), [query.runs]);
  useEffect(() => {
    document.title = 'Compare runs · VGPO';
  }, []);
  if (ids.length === 0)
    return comparisons.value.length > 0
      ? html`<${Saved} />`
      : html`<${Empty} icon="play" title="No runs chosen">
        <p>Choose runs in the list, then compare them.</p>
        <a class="button primary" href="#/runs">To the runs</a>
      </${Empty}>`;
  return html`<${Compared} ids=${ids} query=${query} />`;
}

/** What was saved under a name, here in this browser. */
function Saved() {
  return html`
    <nav class="crumbs" aria-label="Where you are"><a href="#/runs">Runs</a> / Saved comparisons</nav>
    <div class="head"><h1 class="grow">Saved comparisons</h1></div>
    <p class="muted">This browser keeps them; others do not see them.</p>
    <ul class="saved">
      ${comparisons.value.map(
        ({ name, runs, keys }) => html`<li class="card row" key=${name}>
          <a class="grow" href=${href(['compare'], { runs: runs.join(','), ...(keys ? { keys } : {}) })}>${name}</a>
          <small class="muted">${runs.length} ${runs.length === 1 ? 'run' : 'runs'}</small>
          <button class="icon" aria-label=${`Forget ${name}`} onClick=${() => dropComparison(name)}>
            <${Icon} name="trash" />
          </button>
        </li>`,
      )}
    </ul>
  `;
}

/**
 * @param {string[]} ids
 * @param {AbortSignal} signal
 */
async function readJobs(ids, signal) {
  return Promise.all(
    ids.map(async (id) => {
      const run = await get('/v1/runs/{id}', { path: { id }, signal });
      return { run, job: await get('/v1/jobs/{id}', { path: { id: run.job_id }, signal }) };
    }),
  );
}

/** @param {{ ids: string[], query: PageProps['query'] }} props */
function Compared({ ids, query }) {
  const all = useSeries(ids);
  const [jobs, error, again] = useLoad((signal) => readJobs(ids, signal), [ids.join(','), epoch.value]);
  const [kind, setKind] = useState(/** @type {XKind} */ ('step'));
  const [weight, setWeight] = useState(0);
  const [log, setLog] = useState(false);
  const [first] = useLoad(headlines, []);
  const keys = [...new Set(all.flatMap((one) => [...one.map.keys()].filter((key) => one.has(key))))].sort();
  const shown = (query.keys ? query.keys.split(',') : (first ?? [])).filter((key) => keys.includes(key));
  /** @param {string} key */
  const toggle = (key) =>
    setQuery({ keys: (shown.includes(key) ? shown.filter((k) => k !== key) : [...shown, key]).join(',') });
  if (error && !jobs) return html`<${Failure} error=${error} again=${again} />`;
  if (!jobs) return html`<${Loading} what="Reading the runs" height=${320} />`;
  const save = async () => {
    const name = await askFor({
      title: 'Save this comparison',
      text: 'Its runs and metrics, under a name. This browser keeps it; a copy of the address shows it to others.',
      label: 'Name',
      value: '',
      attributes: { maxlength: 100 },
      yes: 'Save',
    });
    if (!name) return;
    saveComparison({ name, runs: ids, keys: query.keys });
    say(`“${name}” is saved in this browser`);
  };
  const names = jobs.map(({ run }) =>
    jobs.filter((other) => other.run.name === run.name).length > 1 ? `${run.name} · ${run.id.slice(-4)}` : run.name,
  );
  return html`
    <nav class="crumbs" aria-label="Where you are"><a href="#/runs">Runs</a> / Compare</nav>
    <div class="head">
      <h1 class="grow">${ids.length} ${ids.length === 1 ? 'run' : 'runs'} side by side</h1>
      ${comparisons.value.length > 0 && html`<a class="button" href="#/compare">Saved comparisons</a>`}
      <button onClick=${save}><${Icon} name="star" />Save …</button>
    </div>
    <ul class="run-chips">
      ${jobs.map(
        ({ run }, i) => html`<li key=${run.id}>
          <i style=${{ background: colourOf(i) }}></i>
          <a href=${href(['runs', run.id])}>${names[i]}</a>
          <${Badge} state=${run.state} />
          <b class="tabular">${percent(run.best_accuracy)}</b>
          <button
            class="icon"
            aria-label=${`Leave out ${names[i]}`}
            onClick=${() => setQuery({ runs: ids.filter((id) => id !== run.id).join(',') })}
          >
            ×
          </button>
        </li>`,
      )}
    </ul>
    <${CurveTools} kind=${kind} setKind=${setKind} weight=${weight} setWeight=${setWeight}>
      <label class="inline">
        <input type="checkbox" checked=${log} onChange=${(e) => setLog(e.currentTarget.checked)} />
        log axis
      </label>
      <select
        aria-label="Add a metric"
        onChange=${(e) => {
          if (e.currentTarget.value) toggle(e.currentTarget.value);
          e.currentTarget.value = '';
        }}
      >
        <option value="">Add a metric …</option>
        ${keys.filter((key) => !shown.includes(key)).map((key) => html`<option value=${key}>${key}</option>`)}
      </select>
    </${CurveTools}>
    <div class="compare-charts">
      ${shown.map(
        (key) => html`<div class="card" key=${key}>
          <${OneMetric}
            metric=${key}
            all=${all}
            names=${names}
            kind=${kind}
            weight=${weight}
            log=${log}
            close=${() => toggle(key)}
          />
        </div>`,
      )}
    </div>
    ${jobs.length > 1 && html`<${Differences} jobs=${jobs} names=${names} />`}
  `;
}

/**
 * One metric of every run; zooming in reads finer buckets of the part in view.
 * @param {{
 *   metric: string, all: RunSeries[], names: string[], kind: XKind, weight: number, log: boolean, close: () => void,
 * }} props
 */
function OneMetric({ metric, all, names, kind, weight, log, close }) {
  const [part, setPart] = useState(/** @type {import('../lib/pan.js').Part | null} */ (null));
  const near = useCloser(all, [metric], kind, part);
  const info = all.map((one) => one.get(metric)).find(Boolean);
  const series = useMemo(
    () =>
      near.map((one, i) => {
        const points = one.get(metric)?.points ?? [];
        const banded = points.some((p) => p.count > 1);
        return {
          label: names[i],
          colour: colourOf(i),
          x: xs(points, kind),
          y: points.map((p) => p.mean ?? null),
          ...(banded ? { lo: points.map((p) => p.min ?? null), hi: points.map((p) => p.max ?? null) } : {}),
        };
      }),
    [near, kind, names.join(), theme.value],
  );
  return html`<${Chart}
    title=${metric}
    note=${info?.description}
    series=${series}
    kind=${kind}
    weight=${weight}
    log=${log}
    sync="compare"
    height=${260}
    onRange=${setPart}
    text=${(/** @type {number | null | undefined} */ v) => inUnit(v, info?.unit)}
    tools=${html`<button class="icon" aria-label=${`Remove ${metric}`} onClick=${close}>×</button>`}
  />`;
}

/**
 * Settings that tell the runs apart, with what came of them.
 * @param {{ jobs: Awaited<ReturnType<typeof readJobs>>, names: string[] }} props
 */
function Differences({ jobs, names }) {
  const rows = differences(jobs.map(({ job }) => job.spec)).filter(([key]) => key !== '/name');
  return html`<section class="section" aria-label="Settings that differ">
    <div class="title">
      <h2>Settings that differ</h2>
      <p class="muted">
        ${rows.length === 0 ? 'None: these runs were asked for the same thing.' : `${rows.length} of them`}
      </p>
    </div>
    <div class="card scroll" tabindex=${0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Setting</th>
            ${names.map(
              (name, i) => html`<th scope="col">
                <i class="dot" style=${{ background: colourOf(i) }}></i>
                ${name}
              </th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ([key, values]) => html`<tr key=${key}>
              <th scope="row"><code>${key.slice(1)}</code></th>
              ${values.map((value) => html`<td class="mono">${show(value) || '–'}</td>`)}
            </tr>`,
          )}
          <tr>
            <th scope="row">best held-out accuracy</th>
            ${jobs.map(({ run }) => html`<td><b>${percent(run.best_accuracy)}</b></td>`)}
          </tr>
          <tr>
            <th scope="row">steps done</th>
            ${jobs.map(({ run }) => html`<td>${number(run.last_step ?? 0)}</td>`)}
          </tr>
        </tbody>
      </table>
    </div>
  </section>`;
}
