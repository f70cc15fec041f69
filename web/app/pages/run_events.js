// What happened to a run's job, and what its worker wrote.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { can, get, list } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { ago, clock, moment, number, percent } from '../lib/format.js';
import { Empty, Failure, Loading, useLoad, useNow } from '../parts/common.js';

/** @param {unknown} value */
const reward = (value) => (typeof value === 'number' ? `, reward ${number(value)}` : '');
/** @param {unknown} value */
const accuracy = (value) => (typeof value === 'number' ? `, held-out accuracy ${percent(value)}` : '');

/**
 * One line for people.
 * @param {LiveEvent} event
 */
export function tell(event) {
  switch (event.kind) {
    case 'job':
      return [
        event.data.from ? `${event.data.from} → ${event.data.to}` : event.data.to,
        event.data.reason ? `: ${event.data.reason}` : '',
        event.data.attempt ? ` (attempt ${event.data.attempt})` : '',
      ].join('');
    case 'samples':
      return `samples of step ${event.data.step} (${event.data.groups} prompts)`;
    case 'checkpoint':
      return `checkpoint at step ${event.data.step}${accuracy(event.data.accuracy)}`;
    case 'checkpoint.deleted':
      return `checkpoint of step ${event.data.step} deleted${event.data.reason ? `: ${event.data.reason}` : ''}`;
    case 'rewind':
      return typeof event.data.to_step !== 'number'
        ? 'starts over from the beginning'
        : `resumes from step ${event.data.to_step}; later results are replaced`;
    case 'worker.crashed':
      return `worker died: ${event.data.message}`;
    case 'alert':
      return `${event.data.rule.replaceAll('_', ' ')}: ${event.data.message}`;
    case 'metrics':
      return `step ${event.data.step}${reward(event.data.values['reward/mean'])}`;
    default: {
      const { detail, message } = /** @type {{ detail?: string, message?: string }} */ (event.data);
      return detail || message || JSON.stringify(event.data);
    }
  }
}

/**
 * Do these values tell of a step? What comes later of it, such as the time of its checkpoint, is no line of its own.
 * @param {Record<string, unknown>} values
 */
const ofStep = (values) => Object.keys(values).some((key) => key !== 'time/checkpoint');

/** @param {LiveEvent} event */
const look = ({ kind, data }) => {
  if (kind.startsWith('warning') || kind === 'worker.crashed' || kind === 'checkpoint.damaged') return 'bad';
  if (kind === 'alert') return data.severity === 'info' ? 'big' : 'bad';
  if (kind !== 'job') return '';
  return data.to === 'failed' ? 'bad' : 'big';
};

/**
 * @param {string} id
 * @param {AbortSignal} signal
 */
async function readEvents(id, signal) {
  const found = await list('/v1/jobs/{id}/events', { path: { id }, most: 3000, signal });
  return /** @type {LiveEvent[]} */ (found);
}

/** @param {{ run: Api['RunEntry'] }} props */
export function Events({ run }) {
  const [steps, setSteps] = useState(false);
  const now = useNow(5000);
  const [past, error, again] = useLoad((signal) => readEvents(run.job_id, signal), [run.job_id, epoch.value]);
  const [fresh, setFresh] = useState(/** @type {LiveEvent[]} */ ([]));
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
    .filter((event) => event.kind !== 'metrics' || (steps && ofStep(event.data.values)))
    .reverse();
  return html`<div class="events-pair">
    <section class="card" aria-label="Events">
      <div class="row between">
        <h2>Events</h2>
        <label class="inline">
          <input type="checkbox" checked=${steps} onChange=${(e) => setSteps(e.currentTarget.checked)} />
          each step
        </label>
      </div>
      ${
        all.length === 0
          ? html`<${Empty} title="No events" />`
          : html`<ol class="events" tabindex=${0}>
            ${all.slice(0, 500).map(
              (event) => html`<li key=${event.seq} class=${look(event)}>
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

/** @param {Api['LogLine']} entry */
const line = ({ time, level, message }) => [clock(time), level, message].join('  ');

/** @param {{ run: Api['RunEntry'] }} props */
function Logs({ run }) {
  const [round, setRound] = useState(0);
  const [lines, error, again] = useLoad(
    async (signal) =>
      (await get('/v1/jobs/{id}/logs', { path: { id: run.job_id }, query: { limit: 1000 }, signal })).data,
    [run.job_id, round],
  );
  const box = useRef(/** @type {HTMLPreElement | null} */ (null));
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
            : html`<pre class="code log" tabindex=${0} ref=${box}>${lines.map(line).join('\n')}</pre>`
    }
  </section>`;
}
