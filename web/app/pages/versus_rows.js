// The rows that two evaluations share, by what became of them; a row opens with both answers.
import { html, useState } from '../lib/html.js';
import { get } from '../lib/api.js';
import { usePages } from '../lib/pages.js';
import { setQuery } from '../lib/router.js';
import { Empty, Failure, Loading, Segmented } from '../parts/common.js';
import { RowAnswers } from '../parts/row_answers.js';
import { short } from './run_evaluation_rows.js';

/** Rows per page. */
const PAGE = 50;

/** @type {Record<Api['Change'], string>} */
const NAMES = {
  fixed: 'fixed',
  broken: 'broken',
  both_right: 'right in both',
  both_wrong: 'wrong in both',
  unjudged: 'no verdict',
};
/** How a change is coloured. @type {Record<Api['Change'], string>} */
const LOOKS = { fixed: 'right', broken: 'wrong', both_right: 'plain', both_wrong: 'plain', unjudged: 'plain' };

/**
 * @param {{
 *   found: Api['EvalComparison'], wanted: { with: string, step?: number, with_step?: number },
 *   query: PageProps['query'],
 * }} props
 */
export function PairTable({ found, wanted, query }) {
  const { changes } = found;
  const usual = changes.fixed + changes.broken > 0 ? 'fixed,broken' : '';
  const change = query.change || usual;
  const [open, setOpen] = useState(/** @type {number | null} */ (null));
  const key = JSON.stringify([found.a, found.b, change]);
  const { rows, next, error, reading, more } = usePages(key, (after) =>
    get('/v1/runs/{id}/eval-rows/compare', {
      path: { id: found.a.run_id },
      query: {
        ...wanted,
        limit: PAGE,
        ...(change && change !== 'all' ? { change } : {}),
        ...(after === undefined ? {} : { after }),
      },
    }),
  );
  return html`<section class="section" aria-label="Rows">
    <div class="title"><h2>Rows</h2></div>
    <div class="toolbar">
      <${Segmented}
        label="What became of the rows"
        value=${change || 'all'}
        onChange=${(/** @type {string} */ value) => setQuery({ change: value })}
        options=${[
          ['fixed,broken', `Changed (${changes.fixed + changes.broken})`],
          ['fixed', `Fixed (${changes.fixed})`],
          ['broken', `Broken (${changes.broken})`],
          ['both_wrong', `Wrong in both (${changes.both_wrong})`],
          ['both_right', `Right in both (${changes.both_right})`],
          ['all', `All (${found.rows})`],
        ]}
      />
    </div>
    ${
      error !== undefined && rows.length === 0
        ? html`<${Failure} error=${error} />`
        : reading && rows.length === 0
          ? html`<${Loading} what="Reading the rows" height=${220} />`
          : rows.length === 0
            ? html`<${Empty} title="No such row" />`
            : html`
              <div class="card scroll" tabindex=${0} aria-busy=${reading}>
                <table class="eval-table">
                  <thead>
                    <tr>
                      <th scope="col" class="num">Row</th>
                      <th scope="col">Change</th>
                      <th scope="col">Question</th>
                      <th scope="col">Truth</th>
                      <th scope="col">Answer of A</th>
                      <th scope="col">Answer of B</th>
                    </tr>
                  </thead>
                  <tbody>
                    ${rows.map(
                      (row) => html`<${PairRow}
                        key=${row.row}
                        row=${row}
                        found=${found}
                        open=${open === row.row}
                        setOpen=${setOpen}
                      />`,
                    )}
                  </tbody>
                </table>
              </div>
              ${next !== null && html`<p class="row more-rows"><button onClick=${more}>Show ${PAGE} more</button></p>`}
            `
    }
  </section>`;
}

/**
 * @param {{
 *   row: Api['PairedRow'], found: Api['EvalComparison'], open: boolean, setOpen: (row: number | null) => void,
 * }} props
 */
function PairRow({ row, found, open, setOpen }) {
  const { a, b } = found;
  /**
   * @param {string} letter
   * @param {Api['ComparedEvaluation']} side
   */
  const name = (letter, side) => `${letter}: ${side.name}${typeof side.step === 'number' ? `, step ${side.step}` : ''}`;
  return html`
    <tr class=${open ? 'opened' : ''}>
      <th scope="row" class="num">
        <button class="small" aria-expanded=${open} onClick=${() => setOpen(open ? null : row.row)}>
          <span class="sr">Row${' '}</span>${row.row}
        </button>
      </th>
      <td><span class=${`badge ${LOOKS[row.change]}`}>${NAMES[row.change]}</span></td>
      <td class="text">${short(row.prompt)}</td>
      <td class="mono text">${short(row.answer)}</td>
      <td class="mono text">${short(row.a[0]?.text ?? '')}</td>
      <td class="mono text">${short(row.b[0]?.text ?? '')}</td>
    </tr>
    ${
      open &&
      html`<tr>
        <td colspan=${6} class="opened-row">
          <p><b>${row.prompt.replace(/<image>/g, '').trim()}</b></p>
          <p class="muted">
            Ground truth: <b class="mono">${row.answer}</b>${' '}
            ${row.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}
          </p>
          <${RowAnswers}
            row=${row.row}
            sides=${[
              { run: a.run_id, name: name('A', a), step: a.step, responses: row.a },
              { run: b.run_id, name: name('B', b), step: b.step, responses: row.b },
            ]}
          />
        </td>
      </tr>`
    }
  `;
}
