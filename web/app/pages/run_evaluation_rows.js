// The rows of an evaluation: filtered, sorted, a page after the other; a row opens with its answers.
import { html, useState } from '../lib/html.js';
import { get } from '../lib/api.js';
import { number } from '../lib/format.js';
import { usePages } from '../lib/pages.js';
import { setQuery } from '../lib/router.js';
import { Badge, Empty, Failure, Loading, Segmented } from '../parts/common.js';
import { RowAnswers } from '../parts/row_answers.js';

/** Rows per page. */
const PAGE = 50;

/** @type {[key: string, text: string][]} */
const ORDERS = [
  ['row', 'number'],
  ['focus', 'least focus first'],
  ['focus-desc', 'most focus first'],
  ['reward', 'least reward first'],
  ['reward-desc', 'most reward first'],
  ['late_early', 'most forgetting first'],
  ['late_early-desc', 'least forgetting first'],
];

/** @param {{ run: Api['RunEntry'], summary: Api['EvaluationSummary'], query: PageProps['query'] }} props */
export function RowTable({ run, summary, query }) {
  const { verdict = '', tag = '', sort = 'row' } = query;
  const [order, down] = sort.split('-');
  const wanted = {
    ...(typeof summary.step === 'number' ? { step: summary.step } : {}),
    ...(verdict ? { verdict } : {}),
    ...(tag ? { tag } : {}),
    sort: order,
    order: down ?? 'asc',
  };
  // Another number of rows is a longer evaluation.
  const { rows, next, error, reading, more } = usePages(JSON.stringify([run.id, wanted, summary.rows]), (after) =>
    get('/v1/runs/{id}/eval-rows', {
      path: { id: run.id },
      query: { ...wanted, limit: PAGE, ...(after === undefined ? {} : { after }) },
    }),
  );
  const [open, setOpen] = useState(/** @type {number | null} */ (query.row === undefined ? null : Number(query.row)));
  return html`<section class="section" aria-label="Rows">
    <div class="title"><h2>Rows</h2></div>
    <div class="toolbar">
      <${Segmented}
        label="Right or wrong"
        value=${verdict}
        onChange=${(/** @type {string} */ value) => setQuery({ verdict: value })}
        options=${[
          ['', 'Right and wrong'],
          ['right', `Right (${summary.right})`],
          ['wrong', `Wrong (${summary.wrong})`],
        ]}
      />
      ${
        summary.tags.length > 0 &&
        html`<label class="inline">
          Tag${' '}
          <select value=${tag} onChange=${(e) => setQuery({ tag: e.currentTarget.value })}>
            <option value="">any</option>
            ${summary.tags.map((one) => html`<option value=${one.tag} selected=${one.tag === tag}>${one.tag}</option>`)}
          </select>
        </label>`
      }
      <label class="inline">
        Sorted by${' '}
        <select value=${sort} onChange=${(e) => setQuery({ sort: e.currentTarget.value })}>
          ${ORDERS.map(([key, text]) => html`<option value=${key} selected=${key === sort}>${text}</option>`)}
        </select>
      </label>
    </div>
    ${
      error !== undefined && rows.length === 0
        ? html`<${Failure} error=${error} />`
        : reading && rows.length === 0
          ? html`<${Loading} what="Reading the rows" height=${220} />`
          : rows.length === 0
            ? html`<${Empty} title="No row fits">
              <button onClick=${() => setQuery({ verdict: '', tag: '' })}>Show all</button>
            </${Empty}>`
            : html`
              <${Table}
                run=${run}
                step=${summary.step}
                rows=${rows}
                open=${open}
                setOpen=${setOpen}
                reading=${reading}
              />
              ${next !== null && html`<p class="row more-rows"><button onClick=${more}>Show ${PAGE} more</button></p>`}
            `
    }
  </section>`;
}

/** @param {(number | null | undefined)[]} values */
const mean = (values) => {
  const known = values.flatMap((value) => (typeof value === 'number' ? [value] : []));
  return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : undefined;
};

/**
 * Right where more than half of the responses are; null without a verdict.
 * @param {Api['EvalResponse'][]} responses
 */
export function isRight(responses) {
  const accuracy = mean(responses.map((one) => one.accuracy));
  return accuracy === undefined ? null : accuracy > 0.5;
}

/**
 * Late over early focus, as rows are sorted by it.
 * @param {Api['EvalResponse'][]} responses
 */
function lateEarly(responses) {
  const [late, early] = [mean(responses.map((one) => one.focus?.late)), mean(responses.map((one) => one.focus?.early))];
  return late !== undefined && early ? late / early : undefined;
}

/** @param {string} text */
export const short = (text) => {
  const line = text
    .replace(/<image>/g, '')
    .replace(/\s+/g, ' ')
    .trim();
  return line.length > 90 ? `…${line.slice(-90)}` : line;
};

/**
 * @param {{
 *   run: Api['RunEntry'], step: number | null | undefined, rows: Api['EvalRow'][], open: number | null,
 *   setOpen: (row: number | null) => void, reading: boolean,
 * }} props
 */
function Table({ run, step, rows, open, setOpen, reading }) {
  return html`<div class="card scroll" tabindex=${0} aria-busy=${reading}>
    <table class="eval-table">
      <thead>
        <tr>
          <th scope="col" class="num">Row</th>
          <th scope="col">Verdict</th>
          <th scope="col">Question</th>
          <th scope="col">Truth</th>
          <th scope="col">Answer</th>
          <th scope="col" class="num">Reward</th>
          <th scope="col" class="num">Focus</th>
          <th scope="col" class="num">Late / early</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map((row) => {
          const right = isRight(row.responses);
          const focus = row.responses.map((one) => one.focus);
          const opened = open === row.row;
          const side = { run: run.id, name: run.name, step, responses: row.responses };
          return html`
            <tr key=${row.row} class=${opened ? 'opened' : ''}>
              <th scope="row" class="num">
                <button class="small" aria-expanded=${opened} onClick=${() => setOpen(opened ? null : row.row)}>
                  <span class="sr">Row${' '}</span>${row.row}
                </button>
              </th>
              <td>${right === null ? '–' : html`<${Badge} state=${right ? 'right' : 'wrong'} />`}</td>
              <td class="text">${short(row.prompt)}</td>
              <td class="mono text">${short(row.answer)}</td>
              <td class="mono text">${short(row.responses[0]?.text ?? '')}</td>
              <td class="num">${number(mean(row.responses.map((one) => one.reward)))}</td>
              <td class="num">${number(mean(focus.map((one) => one?.mean)))}</td>
              <td class="num">${number(lateEarly(row.responses))}</td>
            </tr>
            ${
              opened &&
              html`<tr key=${`open ${row.row}`}>
                <td colspan=${8} class="opened-row">
                  <p><b>${row.prompt.replace(/<image>/g, '').trim()}</b></p>
                  <p class="muted">
                    Ground truth: <b class="mono">${row.answer}</b>${' '}
                    ${row.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}
                  </p>
                  <${RowAnswers} row=${row.row} sides=${[side]} />
                </td>
              </tr>`
            }
          `;
        })}
      </tbody>
    </table>
  </div>`;
}
