// What is seldom done with a run: a new name, more steps, its points as a file, its end.
import { html } from '../lib/html.js';
import { address, asError, can, get, patch, post, remove } from '../lib/api.js';
import { forget, isFinal } from '../lib/runs.js';
import { go } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { fileName } from '../lib/download.js';
import { askFor, attempt, confirm, say } from './ask.js';
import { Menu } from './menu.js';

/** @param {{ run: Api['Run'], onDone: () => void }} props */
export function RunMenu({ run, onDone }) {
  const path = { id: run.id };
  const rename = async () => {
    const name = await askFor({
      title: 'Rename this run',
      text: 'Names need not be unique; the id stays.',
      label: 'Name',
      value: run.name,
      attributes: { maxlength: 200 },
      yes: 'Rename',
    });
    if (name && (await attempt(() => patch('/v1/runs/{id}', { name }, { path }), 'Renamed'))) onDone();
  };
  const goOn = async () => {
    let from;
    try {
      from = (await get('/v1/checkpoints/{id}', { path: { id: run.last_checkpoint ?? '' } })).step;
    } catch (error) {
      say(`The newest checkpoint cannot be read: ${asError(error).message}`, true);
      return;
    }
    const reached = run.last_step ?? from;
    const again = reached > from ? ` The run reached step ${reached}: what came after step ${from} is done again.` : '';
    const to = await askFor({
      title: `Continue training “${run.name}”`,
      text: `A new job on the same run, from step ${from}, its newest checkpoint.${again} The curves continue.`,
      label: `From step ${from} to step`,
      value: String(reached < run.steps ? run.steps : from + run.steps),
      attributes: { type: 'number', min: from + 1, step: 1 },
      yes: 'Continue training',
    });
    if (!to) return;
    const more = { steps: Number(to) - from };
    if (await attempt(() => post('/v1/runs/{id}/continue', more, { path }), 'Queued')) onDone();
  };
  const drop = async () => {
    const sure = await confirm({
      title: `Delete “${run.name}”?`,
      text: 'Its curves, samples and checkpoints will be permanently deleted.',
      yes: 'Delete the run',
      danger: true,
    });
    if (sure && (await attempt(() => remove('/v1/runs/{id}', { path }), 'Deleted'))) {
      forget(run.id);
      go(['runs']);
    }
  };
  const ended = isFinal(run.state);
  const mine = refusal('user', run.project) === null;
  return html`<${Menu} label="More about this run">
    ${mine && html`<button role="menuitem" onClick=${rename}>Rename …</button>`}
    ${
      mine &&
      ended &&
      run.last_checkpoint &&
      can('post', '/v1/runs/{id}/continue') &&
      html`<button role="menuitem" onClick=${goOn}>Continue training …</button>`
    }
    ${
      can('get', '/v1/runs/{id}/metrics.csv') &&
      html`<a
        role="menuitem"
        tabindex=${-1}
        href=${address('/v1/runs/{id}/metrics.csv', { path })}
        download=${`${fileName(run.name)}-metrics.csv`}
      >
        Download all points (CSV)
      </a>`
    }
    ${
      can('get', '/v1/runs/{id}/samples.csv') &&
      html`<a
        role="menuitem"
        tabindex=${-1}
        href=${address('/v1/runs/{id}/samples.csv', { path })}
        download=${`${fileName(run.name)}-samples.csv`}
      >
        Download samples by token (CSV)
      </a>`
    }
    ${
      can('get', '/v1/runs/{id}/report') &&
      html`<a
        role="menuitem"
        tabindex=${-1}
        href=${address('/v1/runs/{id}/report', { path })}
        download=${`${fileName(run.name)}.html`}
      >
        Download the report
      </a>`
    }
    ${
      mine &&
      html`<button role="menuitem" class="danger" disabled=${!ended} onClick=${drop}>
        ${ended ? 'Delete the run …' : 'Delete (once its job has ended)'}
      </button>`
    }
  </${Menu}>`;
}
