// Checkpoints of a run, or of all.
import { html, useEffect } from '../lib/html.js';
import { address, can, list, post, remove } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { evaluating } from '../lib/models.js';
import { load, runs } from '../lib/runs.js';
import { ago, bytes, moment, percent, shortId } from '../lib/format.js';
import { href } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { askFor, attempt, confirm, sayCopied } from './ask.js';
import { Empty, Failure, Loading, useLoad, useNow } from './common.js';
import { Icon } from './icon.js';

/** A run by its name, where it is known. @param {string} id */
const nameOf = (id) => runs.value?.find((run) => run.id === id)?.name ?? shortId(id);

/** The data set that its run trains on, where it is known. @param {string} id */
const datasetOf = (id) => runs.value?.find((run) => run.id === id)?.dataset;

/** @param {{ runId?: string }} props */
export function Checkpoints({ runId }) {
  const now = useNow(5000);
  const [found, error, again] = useLoad(
    (signal) => list('/v1/checkpoints', { query: { run: runId }, most: 2000, signal }),
    [runId, epoch.value],
  );
  useEffect(() => {
    if (!runs.value) load();
  }, []);
  useEffect(
    () =>
      listen(({ kind, run_id: run }) => {
        if (kind.startsWith('checkpoint') && (!runId || run === runId)) again();
      }),
    [runId],
  );
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading checkpoints" height=${220} />`;
  if (found.length === 0)
    return html`<${Empty} icon="star" title="No checkpoints yet">
      <p>A run writes one every <code>checkpoint_every</code> steps, and one at its end.</p>
    </${Empty}>`;
  const all = [...found].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  return html`<div class="card scroll">
    <table class="stacked" role="table">
      <thead role="rowgroup">
        <tr role="row">
          <th role="columnheader" scope="col">Checkpoint</th>
          <th role="columnheader" scope="col" class="num">Step</th>
          <th role="columnheader" scope="col" class="num">Accuracy</th>
          <th role="columnheader" scope="col" class="num">Size</th>
          <th role="columnheader" scope="col">Written</th>
          <th role="columnheader" scope="col"><span class="sr">Actions</span></th>
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${all.map(
          (one) => html`<tr role="row" key=${one.id}>
            <th role="rowheader" scope="row">
              <button
                class="icon"
                aria-label=${`Copy the id ${one.id}`}
                title=${one.id}
                onClick=${() => sayCopied(one.id, 'The id')}
              >
                <${Icon} name="copy" />
              </button>
              <code>${shortId(one.id)}</code>${' '}
              ${one.best ? html`<span class="badge plain right">best</span>` : ''}${' '}
              ${one.last ? html`<span class="badge plain">last</span>` : ''}${' '}
              ${one.promoted_as && html`<span class="badge plain running">served as ${one.promoted_as}</span>`}
              ${
                !runId &&
                html`<small class="block">
                  <a href=${href(['runs', one.run_id, 'checkpoints'])}>${nameOf(one.run_id)}</a>
                </small>`
              }
            </th>
            <td role="cell" class="num" data-label="Step">${one.step}</td>
            <td role="cell" class="num" data-label="Held-out accuracy">${percent(one.accuracy ?? NaN)}</td>
            <td role="cell" class="num" data-label="Size">${bytes(one.manifest.size_bytes)}</td>
            <td role="cell" data-label="Written">
              <time datetime=${one.created_at} title=${moment(one.created_at)}>${ago(one.created_at, now)}</time>
            </td>
            <td role="cell" class="wide"><${Actions} one=${one} again=${again} /></td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** @param {{ one: Api['Checkpoint'], again: () => void }} props */
function Actions({ one, again }) {
  const path = { id: one.id };
  const promote = async () => {
    const name = await askFor({
      title: `Serve step ${one.step} as a model`,
      text:
        'Requests and jobs can name it like any other model. If another checkpoint uses this name, it will be ' +
        'replaced.',
      label: 'Model name',
      value: one.promoted_as || 'my-model',
      attributes: { spellcheck: false, pattern: '[A-Za-z0-9._\\-\\/]+' },
      yes: 'Serve',
    });
    if (name && (await attempt(() => post('/v1/checkpoints/{id}/promote', { name }, { path }), `Served as ${name}`)))
      again();
  };
  const withdraw = async () => {
    const sure = await confirm({
      title: `Stop serving “${one.promoted_as}”?`,
      text: 'Requests that name it are refused from now on. The checkpoint stays.',
      yes: 'Stop serving',
    });
    if (sure && (await attempt(() => remove('/v1/checkpoints/{id}/promote', { path }), 'No longer served'))) again();
  };
  const drop = async () => {
    const sure = await confirm({
      title: 'Delete this checkpoint?',
      text: `The weights of step ${one.step} will be permanently deleted. Metrics and samples stay.`,
      yes: 'Delete',
      danger: true,
    });
    if (sure && (await attempt(() => remove('/v1/checkpoints/{id}', { path }), 'Deleted'))) again();
  };
  const mine = refusal('user', one.project) === null;
  const uses = [one.best && 'the best of its run', one.last && 'the last of its run', one.promoted_as && 'served'];
  const held = uses.filter(Boolean).join(' and ');
  return html`<div class="row right actions">
    ${
      refusal() === null &&
      html`<a class="button small" href=${href(['playground'], { model: one.id })}><${Icon} name="eye" />Try</a>`
    }
    ${
      refusal() === null &&
      html`<a class="button small" href=${evaluating(one.id, datasetOf(one.run_id))}>
        <${Icon} name="check" />
        Evaluate
      </a>`
    }
    ${
      can('get', '/v1/checkpoints/{id}/download') &&
      html`<a
        class="button small"
        href=${address('/v1/checkpoints/{id}/download', { path })}
        download
        aria-label="Download"
        title="Download"
      >
        <${Icon} name="download" />
      </a>`
    }
    ${
      mine &&
      can('post', '/v1/checkpoints/{id}/promote') &&
      (one.promoted_as
        ? html`<button class="small" onClick=${withdraw}><${Icon} name="close" />Stop serving</button>`
        : html`<button class="small" onClick=${promote}><${Icon} name="star" />Serve as …</button>`)
    }
    ${
      mine &&
      can('delete', '/v1/checkpoints/{id}') &&
      html`<button
        class="icon danger"
        onClick=${drop}
        disabled=${held !== ''}
        aria-label=${held ? `Delete: not possible, it is ${held}` : 'Delete'}
        title=${held ? `It cannot be deleted: it is ${held}` : 'Delete'}
      >
        <${Icon} name="trash" />
      </button>`
    }
  </div>`;
}
