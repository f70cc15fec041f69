// One run: its facts, its progress, and its tabs.
import { html, useEffect, useMemo, useRef } from '../lib/html.js';
import { address, can, get } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { effort, timeLeft } from '../lib/effort.js';
import { isFinal, lookOf, runs, startOf } from '../lib/runs.js';
import { RunSeries } from '../lib/series.js';
import { ago, duration, moment, number, percent } from '../lib/format.js';
import { href } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { Badge, Failure, Figures, Loading, Progress, useLoad, useNow } from '../parts/common.js';
import { RunAlerts } from '../parts/alerts.js';
import { JobActions } from '../parts/job_actions.js';
import { Lineage } from '../parts/lineage.js';
import { RunMenu } from '../parts/run_menu.js';
import { RunNotes } from '../parts/run_notes.js';
import { RunTrackers } from '../parts/trackers.js';
import { Icon } from '../parts/icon.js';
import { Curves } from './run_curves.js';
import { Evaluation } from './run_evaluation.js';
import { Samples } from './run_samples.js';
import { Settings } from './run_settings.js';
import { Events } from './run_events.js';
import { Checkpoints } from '../parts/checkpoints.js';

/** @type {[key: string, text: string][]} */
const TABS = [
  ['', 'Curves'],
  ['evaluation', 'Evaluation'],
  ['samples', 'Samples'],
  ['checkpoints', 'Checkpoints'],
  ['settings', 'Settings'],
  ['events', 'Events and logs'],
];

/** A run that only evaluates begins with its rows. @type {typeof TABS} */
const TABS_READING = [['', 'Evaluation'], ['curves', 'Curves'], ...TABS.slice(2)];

/** @param {PageProps} props */
export default function RunPage({ parts, query }) {
  const [, id, tab = ''] = parts;
  return html`<${Run} key=${id} id=${id} tab=${tab} query=${query} />`;
}

/** @param {{ id: string, tab: string, query: PageProps['query'] }} props */
function Run({ id, tab, query }) {
  const [run, error, again] = useLoad((signal) => get('/v1/runs/{id}', { path: { id }, signal }), [id, epoch.value]);
  const [job, , againJob] = useLoad(
    async (signal) => (run ? get('/v1/jobs/{id}', { path: { id: run.job_id }, signal }) : undefined),
    [run?.job_id, epoch.value],
  );
  const data = useMemo(() => new RunSeries(id), [id]);
  useEffect(() => () => data.close(), [data]);
  useEffect(
    () =>
      listen((event) => {
        if (event.run_id !== id) return;
        if (['job', 'checkpoint', 'checkpoint.deleted', 'job.updated'].includes(event.kind)) {
          again();
          againJob();
        }
      }),
    [id],
  );
  const tabs = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    // On a phone not all tabs fit: the current one comes into view.
    const bar = tabs.current;
    const current = bar?.querySelector('[aria-current]');
    if (bar && current instanceof HTMLElement)
      bar.scrollLeft = current.offsetLeft - bar.offsetLeft - (bar.clientWidth - current.clientWidth) / 2;
  }, [tab, Boolean(run)]);
  useEffect(() => {
    if (run) document.title = `${run.name} · VGPO`;
  }, [run?.name]);
  if (!run && error) return html`<${Failure} error=${error} again=${again} />`;
  if (!run) return html`<${Loading} what="Reading the run" height=${320} />`;
  const reads = run.method === 'eval';
  const [tabsOf, first] = reads ? [TABS_READING, 'evaluation'] : [TABS, 'curves'];
  const shown = tab || first;
  // The list hears of steps and states at once; what it does not hold comes from the run itself.
  const live = runs.value?.find((other) => other.id === id);
  /** @type {Api['RunEntry']} */
  const now = {
    ...run,
    ...(live && Date.parse(live.updated_at) > Date.parse(run.updated_at)
      ? {
          last_step: live.last_step,
          state: live.state,
          last_accuracy: live.last_accuracy,
          best_accuracy: live.best_accuracy,
        }
      : {}),
  };
  return html`
    <nav class="crumbs" aria-label="Where you are"><a href="#/runs">Runs</a> / ${run.project}</nav>
    <div class="head">
      <div class="grow row"><h1>${run.name}</h1><${Badge} state=${now.state} /></div>
      <${JobActions}
        run=${now}
        onDone=${() => {
          again();
          againJob();
        }}
      />
      ${
        can('get', '/v1/runs/{id}/report') &&
        html`<a class="button" href=${address('/v1/runs/{id}/report', { path: { id } })} target="_blank" rel="noopener">
          <${Icon} name="file" />
          Report
        </a>`
      }
      ${
        now.last_checkpoint &&
        refusal() === null &&
        html`<a class="button" href=${href(['playground'], { model: `${run.id}@best`, other: run.model })}>
          <${Icon} name="eye" />
          Try it
        </a>`
      }
      ${
        refusal() === null &&
        html`<a class="button" href=${href(['new'], { like: run.job_id })}><${Icon} name="copy" />New job from this</a>`
      }
      <${RunMenu}
        run=${now}
        onDone=${() => {
          again();
          againJob();
        }}
      />
    </div>
    ${
      job?.reason &&
      (now.state === 'failed' || job.not_before) &&
      html`<p class="notice bad" role="alert">${job.reason}</p>`
    }
    <${RunAlerts} id=${id} said=${now.state === 'failed' ? job?.reason : null} />
    <${RunTrackers} id=${id} kinds=${job?.spec.report_to ?? []} />
    <${Standing} run=${now} data=${data} />
    <${RunNotes} run=${run} onDone=${again} />
    <${Lineage} run=${run} />
    <nav class="tabs" aria-label="Parts of the run" ref=${tabs} style=${{ marginTop: '18px' }}>
      ${tabsOf.map(
        ([key, text]) => html`<a
          key=${key}
          href=${href(['runs', id, ...(key ? [key] : [])])}
          aria-current=${shown === (key || first) ? 'page' : undefined}
        >
          ${text}
        </a>`,
      )}
    </nav>
    ${
      shown === 'evaluation'
        ? html`<${Evaluation} run=${now} query=${query} />`
        : shown === 'samples'
          ? html`<${Samples} run=${now} query=${query} />`
          : shown === 'settings'
            ? html`<${Settings} job=${job} />`
            : shown === 'events'
              ? html`<${Events} run=${now} />`
              : shown === 'checkpoints'
                ? html`<${Checkpoints} runId=${id} />`
                : html`<${Curves} run=${now} data=${data} />`
    }
  `;
}

/** @param {number} value */
const signed = (value) => `${value >= 0 ? '+' : '−'}${Math.abs(value).toFixed(1)}`;

/**
 * The figures that tell at a glance how it goes.
 * @param {{ run: Api['RunEntry'], data: RunSeries }} props
 */
function Standing({ run, data }) {
  const now = useNow();
  data.version.value;
  const { worked, pace } = effort((key) =>
    (data.get(key)?.points ?? []).map(({ mean, count }) => ({ mean: mean ?? null, count })),
  );
  const left = timeLeft(run, pace);
  const share = run.steps ? (run.last_step ?? 0) / run.steps : 0;
  const ratio = data.last('eval/late_early_ratio') ?? data.last('visual/late_early_ratio');
  const accuracies = data.get('eval/accuracy')?.points ?? [];
  const first = accuracies[0]?.mean;
  const gain =
    typeof run.last_accuracy === 'number' && typeof first === 'number' && accuracies.length > 1
      ? (run.last_accuracy - first) * 100
      : null;
  const rewarded = data.get('reward/mean')?.points.at(-1);
  return html`<div class="stack" style=${{ gap: '12px' }}>
    <${Figures}
      items=${[
        [
          'Step',
          `${run.last_step ?? 0} of ${run.steps}`,
          left !== null
            ? `about ${duration(left)} left`
            : isFinal(run.state)
              ? `ended ${ago(run.finished_at, now)}`
              : run.state,
        ],
        [
          'Held-out accuracy',
          percent(run.last_accuracy),
          gain === null
            ? `best ${percent(run.best_accuracy)}`
            : `${signed(gain)} points since step ${accuracies[0].step}`,
        ],
        ['Reward', number(data.last('reward/mean') ?? NaN), rewarded ? `step ${rewarded.step}` : ''],
        [
          'Focus late / early',
          number(ratio ?? NaN),
          ratio !== null ? (ratio < 1 ? 'looks less towards the end' : 'keeps looking') : '',
        ],
        ['Speed', number(data.last('throughput/tokens_per_second')), 'response tokens a second'],
        ['Time', duration(worked ?? NaN), run.started_at ? `of work, since ${moment(run.started_at)}` : 'not started'],
      ]}
    />
    <${Progress}
      value=${share}
      label="Progress of the run"
      look=${lookOf(run.state)}
    />
    <p class="row muted">
      <span>${run.method} · from <b title=${run.model}>${startOf(run)}</b> · on <b>${run.dataset}</b></span>
      <code class="mono">${run.id}</code>
    </p>
  </div>`;
}
