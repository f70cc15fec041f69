// Workers: the processes that run jobs.
import { html, useEffect, useState } from '../lib/html.js';
import { list } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { timeLeft } from '../lib/effort.js';
import { effortOf, runs, spark } from '../lib/runs.js';
import { ago, bytes, duration, moment } from '../lib/format.js';
import { href } from '../lib/router.js';
import { Badge, Empty, Failure, Loading, Progress, useLoad, useNow } from '../parts/common.js';

/** @type {Set<Api['WorkerState']>} */
const GONE = new Set(['stopped', 'crashed']);

export default function Workers() {
  const [round, setRound] = useState(0);
  const [found, error, again] = useLoad((signal) => list('/v1/workers', { most: 1000, signal }), [round, epoch.value]);
  const now = useNow();
  useEffect(() => {
    document.title = 'Workers · VGPO';
    const timer = setInterval(() => setRound((n) => n + 1), 5000);
    const stop = listen(({ kind }) => {
      if (kind === 'job' || kind.startsWith('worker')) setRound((n) => n + 1);
    });
    return () => {
      clearInterval(timer);
      stop();
    };
  }, []);
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading the workers" height=${200} />`;
  const sorted = [...found].sort(
    (a, b) => Number(GONE.has(a.state)) - Number(GONE.has(b.state)) || (a.started_at < b.started_at ? 1 : -1),
  );
  const alive = sorted.filter((w) => !GONE.has(w.state));
  return html`
    <div class="head">
      <div class="grow">
        <h1>Workers</h1>
        <p class="muted">${alive.length} alive, ${alive.filter((w) => w.state === 'busy').length} busy</p>
      </div>
    </div>
    ${
      alive.length === 0 &&
      html`<${Empty} icon="alert" title="No worker is alive">
        <p>
          Jobs wait. <code>vgpo serve</code> starts workers by itself; <code>vgpo worker</code> starts one
          on another machine.
        </p>
      </${Empty}>`
    }
    <ul class="cards">${alive.map((w) => html`<${Card} key=${w.id} worker=${w} now=${now} />`)}</ul>
    ${
      sorted.length > alive.length &&
      html`<details class="section">
        <summary>${sorted.length - alive.length} that have ended</summary>
        <ul class="cards" style=${{ marginTop: '10px' }}>
          ${sorted
            .filter((w) => GONE.has(w.state))
            .slice(0, 30)
            .map((w) => html`<${Card} key=${w.id} worker=${w} now=${now} />`)}
        </ul>
      </details>`
    }
  `;
}

/** @param {{ worker: Api['WorkerRecord'], now: number }} props */
function Card({ worker, now }) {
  const run = worker.job_id ? runs.value?.find((r) => r.job_id === worker.job_id) : null;
  const left = run ? timeLeft(run, effortOf(spark(run.id).value).pace) : null;
  const silent = !GONE.has(worker.state) && now - Date.parse(worker.heartbeat_at) > 30_000;
  return html`<li class="card">
    <div class="row">
      <h2 class="grow">${worker.device} <span class="muted">on ${worker.host}</span></h2>
      <${Badge} state=${worker.state} />
    </div>
    ${
      run
        ? html`
          <a href=${href(['runs', run.id])}>${run.name}</a>
          <${Progress} value=${(run.last_step ?? 0) / (run.steps || 1)} label=${`Progress of ${run.name}`} />
          <p class="muted small-text tabular">
            step ${run.last_step ?? 0} of ${run.steps}
            ${left !== null ? `, about ${duration(left)} left` : ''}
          </p>
        `
        : html`<p class="muted">
          ${
            worker.job_id
              ? html`
                job <code>${worker.job_id}</code>
              `
              : 'no job'
          }
        </p>`
    }
    <dl class="kv">
      <dt>Role</dt>
      <dd>${worker.role}</dd>
      <dt>Memory</dt>
      <dd>${bytes(worker.memory_bytes ?? NaN)}</dd>
      <dt>Heartbeat</dt>
      <dd class=${silent ? 'wrong' : ''}>${ago(worker.heartbeat_at, now)}</dd>
      <dt>Since</dt>
      <dd>${moment(worker.started_at)}</dd>
      <dt>Process</dt>
      <dd>${worker.pid}, vgpo ${worker.version}</dd>
    </dl>
  </li>`;
}
