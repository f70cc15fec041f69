// What happened to a run's job, and what its worker wrote.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { can, get, list } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { ago, clock, moment, number, percent } from '../lib/format.js';
import { Empty, Failure, Loading, useLoad, useNow } from '../parts/common.js';

const reward = (value) => (typeof value === 'number' ? `, reward ${number(value)}` : '');
const accuracy = (value) => (typeof value === 'number' ? `, held-out accuracy ${percent(value)}` : '');

/** One line for people. */
export function tell({ kind, data }) {
  switch (kind) {
    case 'job':
      return [
        data.from ? `${data.from} → ${data.to}` : data.to,
        data.reason ? `: ${data.reason}` : '',
        data.attempt ? ` (attempt ${data.attempt})` : '',
      ].join('');
    case 'samples':
      return `samples of step ${data.step} (${data.groups} prompts)`;
    case 'checkpoint':
      return `checkpoint at step ${data.step}${accuracy(data.accuracy)}`;
    case 'checkpoint.deleted':
      return `checkpoint of step ${data.step} deleted${data.reason ? `: ${data.reason}` : ''}`;
    case 'rewind':
      return data.to_step === null
        ? 'starts over from the beginning'
        : `goes on from step ${data.to_step}; what came later is replaced`;
    case 'worker.crashed':
      return `worker died: ${data.message}`;
    case 'metrics':
      return `step ${data.step}${reward(data.values?.['reward/mean'])}`;
    default:
      return data.detail || data.message || JSON.stringify(data);
  }
}

const look = (kind, data) =>
  kind.startsWith('warning') || kind === 'worker.crashed' || kind === 'checkpoint.damaged' || data?.to === 'failed'
    ? 'bad'
    : kind === 'job'
      ? 'big'
      : '';

export function Events({ run }) {
  const [steps, setSteps] = useState(false);
  const now = useNow(5000);
  const [past, error, again] = useLoad(
    (signal) => list(`/v1/jobs/${run.job_id}/events`, 3000, { signal }),
    [run.job_id, epoch.value],
  );
  const [fresh, setFresh] = useState([]);
  useEffect(
    () =>
      listen((event) => {
        if (event.run_id === run.id || event.job_id === run.job_id) setFresh((old) => [...old.slice(-999), event]);
      }),
    [run.id],
  );
  if (error && !past) return html`<${Failure} error=${error} again=${again} />`;
  if (!past) return html`<${Loading} what="Reading events" height=${300} />`;
  const seen = new Set(past.map((event) => event.seq));
  const all = [...past, ...fresh.filter((event) => !seen.has(event.seq))]
    .filter((event) => steps || event.kind !== 'metrics')
    .reverse();
  return html`<div class="events-pair">
    <section class="card" aria-label="Events">
      <div class="row between">
        <h2>Events</h2>
        <label class="inline">
          <input type="checkbox" checked=${steps} onChange=${(e) => setSteps(e.target.checked)} />
          each step
        </label>
      </div>
      ${
        all.length === 0
          ? html`<${Empty} title="No events" />`
          : html`<ol class="events" tabindex="0">
            ${all.slice(0, 500).map(
              (event) => html`<li key=${event.seq} class=${look(event.kind, event.data)}>
                <time datetime=${event.time} title=${`${moment(event.time)} (${ago(event.time, now)})`}>
                  ${clock(event.time)}
                </time>
                <code>${event.kind}</code>
                <span>${tell(event)}</span>
              </li>`,
            )}
          </ol>`
      }
    </section>
    ${can('get', '/v1/jobs/{id}/logs') && html`<${Logs} run=${run} />`}
  </div>`;
}

/** The log may be text or a list of lines, by what the server answers. */
async function readLog(jobId, signal) {
  const answer = await get(`/v1/jobs/${jobId}/logs?limit=1000`, { signal });
  return answer.data ?? [];
}

const line = (entry) =>
  typeof entry === 'string'
    ? entry
    : [entry.time && clock(entry.time), entry.level, entry.message ?? entry.line ?? entry.text]
        .filter(Boolean)
        .join('  ');

function Logs({ run }) {
  const [round, setRound] = useState(0);
  const [lines, error, again] = useLoad((signal) => readLog(run.job_id, signal), [run.job_id, round]);
  const box = useRef(null);
  useEffect(() => {
    if (run.finished_at) return undefined;
    const timer = setInterval(() => setRound((n) => n + 1), 4000);
    return () => clearInterval(timer);
  }, [run.finished_at]);
  useEffect(() => {
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines?.length]);
  return html`<section class="card" aria-label="Log">
    <h2>Log</h2>
    ${
      error && !lines
        ? html`<${Failure} error=${error} again=${again} />`
        : !lines
          ? html`<${Loading} what="Reading the log" />`
          : lines.length === 0
            ? html`<${Empty} icon="file" title="The worker has written nothing" />`
            : html`<pre class="code log" tabindex="0" ref=${box}>${lines.map(line).join('\n')}</pre>`
    }
  </section>`;
}
