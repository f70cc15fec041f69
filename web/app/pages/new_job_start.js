// What differs from the defaults, and the button that starts exactly that.
import { html, useEffect, useState } from '../lib/html.js';
import { post } from '../lib/api.js';
import { keyHeader } from '../lib/asking.js';
import { remember } from '../lib/models.js';
import { go } from '../lib/router.js';
import { flat, show } from '../lib/settings.js';
import { attempt, sayCopied } from '../parts/ask.js';
import { Icon } from '../parts/icon.js';

/** @typedef {import('./new_job.js').Request} Request */
/** @typedef {import('./new_job.js').Planned} Planned */

/**
 * Starts a request once the server has checked it as it is: what is sent is what was checked, and what is shown.
 * @param {Request} request
 * @param {Planned} plan
 * @param {boolean} wrong does the form hold a text without meaning?
 */
export function useStart(request, plan, wrong) {
  const text = JSON.stringify(request);
  /** The request that is to be started as soon as it is checked. */
  const [wanted, setWanted] = useState(/** @type {string | null} */ (null));
  const [sending, setSending] = useState(false);
  const checked = plan.of === text;
  const blocked = wrong || plan.value === undefined || (checked && plan.error !== undefined);
  const send = async () => {
    setSending(true);
    const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    await attempt(async () => {
      const answer = await post('/v1/jobs', request, { headers: { 'idempotency-key': key } });
      remember(request.model);
      go(['runs', /** @type {Api['SubmittedJob']} */ (answer).run_id]);
    }, 'The job is in the queue');
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

/** @param {{ request: Request, starter: ReturnType<typeof useStart> }} props */
export function StartRow({ request, starter }) {
  const body = JSON.stringify(request).replaceAll("'", "'\\''");
  const curl = `curl -s ${location.origin}/v1/jobs${keyHeader()} -H 'content-type: application/json' -d '${body}'`;
  return html`<div class="row">
    <button
      class="primary"
      disabled=${starter.blocked || starter.busy !== null}
      onClick=${starter.start}
      title="Ctrl+Enter"
      aria-keyshortcuts="Control+Enter"
    >
      <${Icon} name="play" />
      ${starter.busy ?? 'Start the job'}
    </button>
    <button type="button" onClick=${() => sayCopied(curl, 'The curl command')}>
      <${Icon} name="copy" />
      curl
    </button>
    <button type="button" onClick=${() => sayCopied(JSON.stringify(request, null, 2), 'The request')}>
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

/** What is put back for a setting: the parts of a method and of a reward belong together. @param {string} pointer */
const whole = (pointer) => /^\/(reward|method(?=\/type))/.exec(pointer)?.[0] ?? pointer;

/** @param {string} text */
const short = (text) => (text === '' ? '“”' : text.length > 60 ? `${text.slice(0, 60)}…` : text);

/**
 * `wrongs`: texts of fields that have no meaning; nothing starts with one of them.
 * @param {{
 *   request: Request, plan: Planned, base: Api['JobPlan'] | undefined, wrongs: Map<string, string>,
 *   reset: (pointer: string) => void,
 * }} props
 */
export function Changes({ request, plan, base, wrongs, reset }) {
  const changes = changesOf(request, base);
  /** @param {string} pointer */
  const undo = (pointer) => html`<button
    type="button"
    class="icon small"
    aria-label=${`Reset ${pointer.slice(1)}`}
    title="Back to the default"
    onClick=${() => reset(whole(pointer))}
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
