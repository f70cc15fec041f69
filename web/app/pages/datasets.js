// Data sets: what there is, a look inside, and uploads with progress.
import { html, useEffect } from '../lib/html.js';
import { list, remove } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { count, moment } from '../lib/format.js';
import { href } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { attempt, confirm } from '../parts/ask.js';
import { Badge, Empty, Failure, Loading, useLoad } from '../parts/common.js';
import { Rows } from '../parts/rows.js';
import { Upload } from './dataset_upload.js';
import { Icon } from '../parts/icon.js';

/** @param {PageProps} props */
export default function Datasets({ parts }) {
  const [found, error, again] = useLoad((signal) => list('/v1/datasets', { most: 1000, signal }), [epoch.value]);
  useEffect(() => {
    document.title = 'Data · VGPO';
    return listen(({ kind }) => {
      if (kind === 'dataset') again();
    });
  }, []);
  const chosen = found?.find((d) => d.name === parts[1] || d.id === parts[1]);
  return html`
    <div class="head">
      <div class="grow">
        <h1>Data sets</h1>
        <p class="lead">Questions about images with answers that can be checked.</p>
      </div>
    </div>
    ${refusal() === null && html`<${Upload} done=${again} />`}
    ${
      error && !found
        ? html`<${Failure} error=${error} again=${again} />`
        : !found
          ? html`<${Loading} what="Reading data sets" height=${200} />`
          : found.length === 0
            ? html`<${Empty} icon="file" title="No data sets yet" />`
            : html`<ul class="cards">
              ${found.map((one) => html`<${Entry} key=${one.id} one=${one} open=${one === chosen} again=${again} />`)}
            </ul>`
    }
  `;
}

/**
 * Bad rows and damaged files: how many, and each that the report names.
 * @param {{ report: Api['DatasetReport'] }} props
 */
function Faults({ report }) {
  const { errors } = report;
  const rows = errors.filter(({ row }) => row !== null).length;
  return html`
    ${rows < report.bad_rows && html`<p>The first ${rows} of them:</p>`}
    <ul class="faults" tabindex=${0} aria-label="Faults">
      ${errors.map(
        ({ file, row, problem }, at) => html`<li key=${at}>
          ${file && html`<b>${[file, row && `row ${row}`].filter(Boolean).join(', ')}:</b>${' '}`}${problem}
        </li>`,
      )}
    </ul>
  `;
}

/** @param {{ one: Api['DatasetEntry'], open: boolean, again: () => void }} props */
function Entry({ one, open, again }) {
  const drop = async () => {
    const sure = await confirm({
      title: `Delete “${one.name}”?`,
      text: 'Its rows and images will be permanently deleted. Runs that used it keep their results.',
      yes: 'Delete',
      danger: true,
    });
    if (sure && (await attempt(() => remove('/v1/datasets/{id}', { path: { id: one.id } }), 'Deleted'))) again();
  };
  const { description } = /** @type {{ description?: string }} */ (one.card ?? {});
  const { report } = one;
  return html`<li class=${`card ${open ? 'wide-card' : ''}`}>
    <div class="row">
      <h2 class="grow"><a href=${href(open ? ['datasets'] : ['datasets', one.name])}>${one.name}</a></h2>
      <${Badge} state=${one.state} />
    </div>
    ${description && html`<p class="muted">${description}</p>`}
    <dl class="kv">
      <dt>Rows</dt>
      <dd>${count(one.train_rows)} to train on, ${count(one.eval_rows)} held out</dd>
      <dt>From</dt>
      <dd>${one.source}, ${moment(one.created_at)}</dd>
    </dl>
    ${
      one.state === 'invalid' &&
      report &&
      report.errors.length > 0 &&
      html`<details class="notice bad" open=${open}>
        <summary>
          ${
            report.bad_rows > 0
              ? `${count(report.bad_rows)} of ${count(report.rows)} rows cannot be used`
              : `It cannot be used: ${report.errors.length === 1 ? 'a fault' : `${report.errors.length} faults`}`
          }
        </summary>
        <${Faults} report=${report} />
      </details>`
    }
    ${
      one.state === 'ready' &&
      report &&
      report.left_out > 0 &&
      html`<details class="notice warn">
        <summary>${count(report.left_out)} bad ${report.left_out === 1 ? 'row was' : 'rows were'} left out</summary>
        <${Faults} report=${report} />
      </details>`
    }
    <div class="row">
      ${
        one.state === 'ready' &&
        html`
          <a class="button small" href=${href(open ? ['datasets'] : ['datasets', one.name])}>
            ${open ? 'Close' : 'Look inside'}
          </a>
          ${
            refusal() === null &&
            html`<a class="button small" href=${href(['new'], { dataset: one.name })}>
              <${Icon} name="plus" />
              Train on it
            </a>`
          }
        `
      }
      ${
        one.source !== 'builtin' &&
        refusal('user', one.project) === null &&
        html`<button class="small danger" onClick=${drop}><${Icon} name="trash" />Delete</button>`
      }
    </div>
    ${open && html`<${Rows} dataset=${one.name} />`}
  </li>`;
}
