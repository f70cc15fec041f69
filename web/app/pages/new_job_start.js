// What differs from the defaults, and the button that starts exactly that.
import { html, useEffect, useState } from '../lib/html.js';
import { post } from '../lib/api.js';
import { keyHeader } from '../lib/asking.js';
import { count } from '../lib/format.js';
import { remember } from '../lib/models.js';
import { go } from '../lib/router.js';
import { flat, show } from '../lib/settings.js';
import { NONE } from '../lib/vary.js';
import { attempt, sayCopied } from '../parts/ask.js';
import { Icon } from '../parts/icon.js';

/**
 * @typedef {import('./new_job.js').Request} Request
 * @typedef {import('./new_job_form.js').Asked} Asked
 * @typedef {import('../lib/vary.js').Grid} Grid
 */

/**
 * Starts what is asked once the server has checked it as it is: what is sent is what was checked, and what is shown.
 * `checks`: the dry runs, each with the request that it must be of.
 * @param {Asked} asked
 * @param {string} model
 * @param {{ of: string, plan: import('./new_job_checks.js').PlannedAs<unknown> }[]} checks
 * @param {boolean} wrong does the form hold a text without meaning?
 */
export function useStart(asked, model, checks, wrong) {
  const text = JSON.stringify(asked);
  /** The request that is to be started as soon as it is checked. */
  const [wanted, setWanted] = useState(/** @type {string | null} */ (null));
  const [sending, setSending] = useState(false);
  const checked = checks.every(({ of, plan }) => plan.of === of);
  const refused = checks.some(
    ({ of, plan }) => plan.value === undefined || (plan.of === of && plan.error !== undefined),
  );
  const blocked = wrong || refused;
  const send = async () => {
    setSending(true);
    const call = { headers: { 'idempotency-key': crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` } };
    await attempt(
      async () => {
        const made = /** @type {unknown} */ (await post(asked.path, /** @type {any} */ (asked.body), call));
        remember(model);
        if (asked.path === '/v1/sweeps') go(['sweeps', /** @type {Api['SubmittedSweep']} */ (made).id]);
        else go(['runs', /** @type {Api['SubmittedJob']} */ (made).run_id]);
      },
      asked.path === '/v1/sweeps' ? 'The jobs are in the queue' : 'The job is in the queue',
    );
    setSending(false);
  };
  useEffect(() => {
    if (wanted === null) return;
    if (wanted !== text || blocked) setWanted(null);
    else if (checked) {
      setWanted(null);
      send();
    }
  }, [wanted, text, blocked, checked]);
  return {
    blocked,
    busy: sending ? 'Starting …' : wanted !== null ? 'Checking …' : null,
    start: () => {
      if (!blocked && !sending) setWanted(text);
    },
  };
}

/**
 * `jobs`: how many a sweep makes; null: it is a job.
 * @param {{ asked: Asked, jobs: number | null, starter: ReturnType<typeof useStart> }} props
 */
export function StartRow({ asked, jobs, starter }) {
  const body = JSON.stringify(asked.body).replaceAll("'", "'\\''");
  const curl = `curl -s ${location.origin}${asked.path}${keyHeader()} -H 'content-type: application/json' -d '${body}'`;
  const what = jobs === null ? 'the job' : jobs === 1 ? 'a sweep of 1 job' : `a sweep of ${count(jobs)} jobs`;
  return html`<div class="row start" id="start" tabindex=${-1}>
    <button
      class="primary"
      disabled=${starter.blocked || starter.busy !== null}
      onClick=${starter.start}
      title="Ctrl+Enter"
      aria-keyshortcuts="Control+Enter"
    >
      <${Icon} name="play" />
      ${starter.busy ?? `Start ${what}`}
    </button>
    <button type="button" onClick=${() => sayCopied(curl, 'The curl command')}>
      <${Icon} name="copy" />
      curl
    </button>
    <button type="button" onClick=${() => sayCopied(JSON.stringify(asked.body, null, 2), 'The request')}>
      <${Icon} name="copy" />
      JSON
    </button>
  </div>`;
}

/**
 * The settings that the request names with another value than they would have without it: [pointer, value, default].
 * @param {Request} request
 * @param {Api['JobPlan'] | undefined} base
 * @returns {[pointer: string, value: string, usual: string | null][]}
 */
function changesOf(request, base) {
  const usual = base ? flat(base.spec) : {};
  return Object.entries(flat(request))
    .filter(([pointer, value]) => !['/model', '/dataset'].includes(pointer) && show(value) !== show(usual[pointer]))
    .map(([pointer, value]) => [pointer, show(value), pointer in usual ? show(usual[pointer]) : null]);
}

/**
 * The settings that the request varies, as those that it names.
 * @param {Grid} grid
 * @param {Api['JobPlan'] | undefined} base
 * @returns {[pointer: string, value: string, usual: string | null][]}
 */
function variedOf(grid, base) {
  const usual = base ? flat(base.spec) : {};
  return Object.entries(grid).map(([pointer, values]) => [
    pointer,
    values.map((value) => (value === null ? NONE : show(value))).join(', '),
    pointer in usual ? show(usual[pointer]) : null,
  ]);
}

/** What is put back for a setting: the parts of a method and of a reward belong together. @param {string} pointer */
const whole = (pointer) => /^\/(reward|method(?=\/type))/.exec(pointer)?.[0] ?? pointer;

/** @param {string} text */
const short = (text) => (text === '' ? '“”' : text.length > 60 ? `${text.slice(0, 60)}…` : text);

/**
 * `wrongs`: texts of fields that have no meaning; nothing starts with one of them.
 * @param {{
 *   request: Request, grid: Grid, plan: import('./new_job_checks.js').Planned, base: Api['JobPlan'] | undefined,
 *   wrongs: Map<string, string>, reset: (pointer: string) => void,
 * }} props
 */
export function Changes({ request, grid, plan, base, wrongs, reset }) {
  const varied = variedOf(grid, base);
  const changes = [...varied, ...changesOf(request, base).filter(([pointer]) => !(pointer in grid))];
  /** @param {string} pointer */
  const undo = (pointer) => html`<button
    type="button"
    class="icon small"
    aria-label=${`Reset ${pointer.slice(1)}`}
    title="Back to the default"
    onClick=${() => reset(pointer in grid ? pointer : whole(pointer))}
  >
    <${Icon} name="retry" />
  </button>`;
  return html`<section class="card changes" aria-label="Changed from the defaults">
    <h2>Changed from the defaults</h2>
    ${
      wrongs.size > 0 &&
      html`<div class="notice bad" role="alert">
        <ul>
        ${[...wrongs].map(
          ([pointer, why]) => html`<li key=${pointer}>
            <code>${pointer.slice(1)}</code>
            <span class="grow">${why}</span>
            ${undo(pointer)}
          </li>`,
        )}
      </ul>
      </div>`
    }
    ${
      changes.length === 0
        ? plan.value && html`<p class="muted small-text">Nothing: every setting has its default.</p>`
        : html`<ul>
          ${changes.map(
            ([pointer, value, usual]) => html`<li key=${pointer}>
              <code>${pointer.slice(1)}</code>
              <span class="grow">
                ${pointer in grid && html`<small class="tag">${grid[pointer].length} values</small>${' '}`}
                <b>${short(value)}</b>
                ${usual !== null && html`<small class="muted">${' '}default ${short(usual)}</small>`}
              </span>
              ${undo(pointer)}
            </li>`,
          )}
        </ul>`
    }
  </section>`;
}
