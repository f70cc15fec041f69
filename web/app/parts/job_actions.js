// Pause, resume, cancel and retry of a job, as far as this server knows them.
import { html } from '../lib/html.js';
import { can, post } from '../lib/api.js';
import { refusal } from '../lib/session.js';
import { attempt, confirm } from './ask.js';
import { Icon } from './icon.js';

/**
 * @typedef {'pause' | 'resume' | 'retry' | 'cancel'} Name
 * @typedef {{
 *   name: Name, label: string, icon: import('./icon.js').IconName, from: Api['JobState'][], text?: string,
 *   done: string, no?: string, danger?: boolean,
 * }} Action
 */

/**
 * @param {Name} name
 * @returns {`/v1/jobs/{id}/${Name}`}
 */
const pathOf = (name) => `/v1/jobs/{id}/${name}`;

/** @type {Action[]} */
const ACTIONS = [
  {
    name: 'pause',
    label: 'Pause',
    icon: 'pause',
    from: ['running'],
    text: 'Saves a checkpoint and frees the worker. Resume any time.',
    done: 'Pausing: saving a checkpoint',
  },
  { name: 'resume', label: 'Resume', icon: 'play', from: ['paused'], done: 'Back in the queue' },
  {
    name: 'retry',
    label: 'Retry',
    icon: 'retry',
    from: ['failed', 'cancelled'],
    text: 'The job goes back to the queue and continues from its newest checkpoint; the attempt counter is reset.',
    done: 'Back in the queue',
  },
  {
    name: 'cancel',
    label: 'Cancel',
    icon: 'stop',
    from: ['queued', 'running', 'pausing', 'paused'],
    danger: true,
    no: 'Keep it running',
    text: 'Stops after the current phase; what it made so far is kept. You can retry it later.',
    done: 'Cancelled',
  },
];

/** @param {{ run: Api['Run'], onDone?: () => void }} props */
export function JobActions({ run, onDone }) {
  if (refusal('user', run.project) !== null) return null;
  const possible = ACTIONS.filter((action) => action.from.includes(run.state) && can('post', pathOf(action.name)));
  /** @param {Action} action */
  const act = async ({ name, label, text, no, danger, done }) => {
    if (text && !(await confirm({ title: `${label} “${run.name}”?`, text, yes: `${label} the job`, no, danger })))
      return;
    if (await attempt(() => post(pathOf(name), undefined, { path: { id: run.job_id } }), done)) onDone?.();
  };
  return html`
    ${possible.map(
      (action) => html`<button key=${action.name} class=${action.danger ? 'danger' : ''} onClick=${() => act(action)}>
        <${Icon} name=${action.icon} />
        ${action.label}
      </button>`,
    )}
  `;
}
