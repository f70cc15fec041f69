// One sweep: its groups by any of the varied settings, with means and intervals, and its runs.
import { html, useEffect, useMemo } from '../lib/html.js';
import { can, get, post, remove } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { headlines } from '../lib/metrics.js';
import { isFinal } from '../lib/runs.js';
import { series as colourOf, theme } from '../lib/colour.js';
import { csv, fileName, saveText } from '../lib/download.js';
import { inUnit, number, percent } from '../lib/format.js';
import { go, href, setQuery } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { show } from '../lib/settings.js';
import { attempt, confirm } from '../parts/ask.js';
import { Badge, Failure, Loading, useLoad } from '../parts/common.js';
import { Chart } from '../parts/chart.js';
import { Icon } from '../parts/icon.js';

/** @param {{ id: string, query: PageProps['query'] }} props */
export function Sweep({ id, query }) {
  const [sweep, error, again] = useLoad(
    (signal) => get('/v1/sweeps/{id}', { path: { id }, signal }),
    [id, epoch.value],
  );
  useEffect(() => {
    /** @type {number | undefined} */
    let timer;
    const stop = listen((event) => {
      if (!['job', 'metrics'].includes(event.kind)) return;
      timer ??= setTimeout(() => {
        timer = undefined;
        again();
      }, 3000);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [id]);
  useEffect(() => {
    if (sweep) document.title = `${sweep.name} · VGPO`;
  }, [sweep?.name]);
  if (error && !sweep) return html`<${Failure} error=${error} again=${again} />`;
  if (!sweep) return html`<${Loading} what="Reading the sweep" height=${320} />`;
  const runs = sweep.runs ?? [];
  const active = runs.filter((run) => !isFinal(run.state)).length;
  const cancel = async () => {
    const sure = await confirm({
      title: `Cancel “${sweep.name}”?`,
      text: `${active} of its jobs have not ended. They stop after their current phase; you can retry them later.`,
      yes: 'Cancel the sweep',
      danger: true,
    });
    if (sure && (await attempt(() => post('/v1/sweeps/{id}/cancel', {}, { path: { id } }), 'Cancelling'))) again();
  };
  const drop = async () => {
    const sure = await confirm({
      title: `Delete “${sweep.name}”?`,
      text: 'The sweep and its runs, with their curves, samples and checkpoints, will be permanently deleted.',
      yes: 'Delete the sweep',
      danger: true,
    });
    if (sure && (await attempt(() => remove('/v1/sweeps/{id}', { path: { id } }), 'Deleted'))) go(['sweeps']);
  };
  return html`
    <nav class="crumbs" aria-label="Where you are">
      <a href="#/runs">Runs</a> / <a href="#/sweeps">Sweeps</a> / ${sweep.project}
    </nav>
    <div class="head">
      <div class="grow">
        <h1>${sweep.name}</h1>
        <p class="muted">${Object.entries(sweep.states)
          .map(([state, count]) => `${count} ${state}`)
          .join(', ')}</p>
      </div>
      ${
        active > 0 &&
        refusal('user', sweep.project) === null &&
        html`<button onClick=${cancel}><${Icon} name="stop" />Cancel</button>`
      }
      ${
        active === 0 &&
        refusal('user', sweep.project) === null &&
        can('delete', '/v1/sweeps/{id}') &&
        html`<button class="danger" onClick=${drop}><${Icon} name="trash" />Delete</button>`
      }
      ${
        runs.length > 0 &&
        html`<a class="button" href=${href(['compare'], { runs: runs.map((run) => run.id).join(',') })}>
          Compare the runs
        </a>`
      }
    </div>
    <${Groups} sweep=${sweep} query=${query} />
    <${Points} sweep=${sweep} />
  `;
}

/**
 * The settings that make the groups: those of the address, else all but the seeds, over which a mean makes sense.
 * @param {Api['SweepEntry']} sweep
 * @param {PageProps['query']} query
 */
function groupsOf(sweep, query) {
  const varied = Object.keys(sweep.grid);
  if (query.by !== undefined) return varied.filter((pointer) => query.by.split(',').includes(pointer));
  const usual = varied.filter((pointer) => !/seed$/.test(pointer));
  return usual.length > 0 ? usual : varied;
}

/** @param {{ sweep: Api['SweepEntry'], query: PageProps['query'] }} props */
function Groups({ sweep, query }) {
  const varied = Object.keys(sweep.grid);
  const by = groupsOf(sweep, query);
  const [usual] = useLoad(headlines, []);
  const keys = [...new Set([...(usual ?? []), ...(sweep.runs ?? []).flatMap((run) => Object.keys(run.metrics))])];
  const key = query.key || (keys.includes('eval/accuracy') ? 'eval/accuracy' : (keys[0] ?? 'eval/accuracy'));
  const steps = (sweep.runs ?? []).map((run) => `${run.id} ${run.last_step} ${run.state}`).join();
  const [found, error, again] = useLoad(
    (signal) =>
      get('/v1/metrics', {
        query: { sweep: sweep.id, key, ...(by.length > 0 ? { group_by: by.join(',') } : {}) },
        signal,
      }),
    [sweep.id, key, by.join(), steps],
  );
  const series = useMemo(
    () =>
      (found?.groups ?? []).map((group, i) => ({
        label: group.label,
        title: `${group.label}: ${group.runs.length} runs`,
        colour: colourOf(i),
        x: group.points.map((point) => point.step),
        y: group.points.map((point) => point.mean),
        ...(group.points.some((point) => typeof point.low === 'number')
          ? {
              lo: group.points.map((point) => point.low ?? null),
              hi: group.points.map((point) => point.high ?? null),
            }
          : {}),
      })),
    [found, theme.value],
  );
  /** @param {string} pointer */
  const toggle = (pointer) =>
    setQuery({ by: varied.filter((one) => (one === pointer) !== by.includes(one)).join(',') || 'none' });
  return html`
    <div class="toolbar" role="group" aria-label="Groups">
      <span class="muted">Runs of a group share</span>
      ${varied.map(
        (pointer) => html`<label class="inline" key=${pointer}>
          <input type="checkbox" checked=${by.includes(pointer)} onChange=${() => toggle(pointer)} />
          <code>${pointer.slice(1)}</code>
        </label>`,
      )}
      <label class="inline">
        Metric${' '}
        <select value=${key} onChange=${(e) => setQuery({ key: e.currentTarget.value })}>
          ${[...new Set([key, ...keys])].map(
            (one) => html`<option value=${one} selected=${one === key}>${one}</option>`,
          )}
        </select>
      </label>
    </div>
    ${
      error && !found
        ? html`<${Failure} error=${error} again=${again} />`
        : html`
          <div class="card">
            <${Chart}
              title=${key}
              note=${`${found?.description ?? key}. Mean over the runs of each group; bands: 95% intervals.`}
              series=${series}
              text=${(/** @type {number | null | undefined} */ v) => inUnit(v, found?.unit)}
              height=${280}
            />
          </div>
          ${found && html`<${GroupTable} found=${found} name=${sweep.name} />`}
        `
    }
  `;
}

/** @param {{ found: Api['Comparison'], name: string }} props */
function GroupTable({ found, name }) {
  const rows = found.groups.map((group) => ({ group, last: group.points.at(-1) }));
  const save = () => {
    const settings = found.group_by;
    const head = [
      ...settings.map((one) => one.slice(1)),
      'runs',
      'step',
      `${found.key} mean`,
      'low',
      'high',
      'min',
      'max',
    ];
    const lines = found.groups.flatMap((group) =>
      group.points.map((point) => [
        ...settings.map((one) => show(group.settings[one])),
        point.n,
        point.step,
        point.mean,
        point.low,
        point.high,
        point.min,
        point.max,
      ]),
    );
    saveText(`${fileName(name)}-${fileName(found.key)}.csv`, csv([head, ...lines]), 'text/csv');
  };
  return html`<section class="section" aria-label="Groups at their last step">
    <div class="title">
      <h2>Groups at their last step</h2>
      <button class="small" onClick=${save}><${Icon} name="download" />All steps (CSV)</button>
    </div>
    <div class="card scroll" tabindex=${0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Group</th>
            <th scope="col" class="num">Runs</th>
            <th scope="col" class="num">Step</th>
            <th scope="col" class="num">Mean</th>
            <th scope="col" class="num">95% interval</th>
            <th scope="col" class="num">Smallest to largest</th>
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ({ group, last }, i) => html`<tr key=${group.label}>
              <th scope="row"><i class="dot" style=${{ background: colourOf(i) }}></i> ${group.label}</th>
              <td class="num">${last?.n ?? group.runs.length}</td>
              <td class="num">${last ? number(last.step) : '–'}</td>
              <td class="num"><b>${inUnit(last?.mean, found.unit)}</b></td>
              <td class="num">
                ${
                  typeof last?.low === 'number'
                    ? `${inUnit(last.low, found.unit)} to ${inUnit(last.high, found.unit)}`
                    : '–'
                }
              </td>
              <td class="num">
                ${last ? `${inUnit(last.min, found.unit)} to ${inUnit(last.max, found.unit)}` : '–'}
              </td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}

/** Every run, by what tells it from the others. @param {{ sweep: Api['SweepEntry'] }} props */
function Points({ sweep }) {
  const varied = Object.keys(sweep.grid);
  return html`<section class="section" aria-label="Runs">
    <div class="title"><h2>Runs</h2></div>
    <div class="card scroll" tabindex=${0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Run</th>
            ${varied.map((pointer) => html`<th scope="col" key=${pointer}><code>${pointer.slice(1)}</code></th>`)}
            <th scope="col">State</th>
            <th scope="col" class="num">Step</th>
            <th scope="col" class="num">Last accuracy</th>
            <th scope="col" class="num">Best accuracy</th>
          </tr>
        </thead>
        <tbody>
          ${(sweep.runs ?? []).map(
            (run) => html`<tr key=${run.id}>
              <th scope="row"><a href=${href(['runs', run.id])}>…${run.id.slice(-4)}</a></th>
              ${varied.map((pointer) => html`<td class="mono" key=${pointer}>${show(run.settings[pointer])}</td>`)}
              <td><${Badge} state=${run.state} /></td>
              <td class="num">${run.last_step ?? 0} / ${run.steps}</td>
              <td class="num">${percent(run.last_accuracy)}</td>
              <td class="num"><b>${percent(run.best_accuracy)}</b></td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </section>`;
}
