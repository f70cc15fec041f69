// An evaluation: what its rows add up to, and the rows themselves.
import { html, useEffect, useMemo, useState } from '../lib/html.js';
import { address, get } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { evaluating } from '../lib/models.js';
import { load, runs } from '../lib/runs.js';
import { series as colourOf, theme } from '../lib/colour.js';
import { number, percent } from '../lib/format.js';
import { go, href, setQuery } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { Chart } from '../parts/chart.js';
import { Empty, Failure, Figures, Loading, useLoad } from '../parts/common.js';
import { Icon } from '../parts/icon.js';
import { StepChoice } from '../parts/step_choice.js';
import { Whiskers } from '../parts/whiskers.js';
import { Audit } from './run_audit.js';
import { RowTable } from './run_evaluation_rows.js';

/** @param {{ run: Api['RunEntry'], query: PageProps['query'] }} props */
export function Evaluation({ run, query }) {
  const [news, setNews] = useState(0);
  const step = query.step === undefined ? undefined : Number(query.step);
  const [found, error, again] = useLoad(
    (signal) =>
      get('/v1/runs/{id}/eval-rows/summary', {
        path: { id: run.id },
        query: step === undefined ? {} : { step },
        signal,
      }),
    [run.id, step, news, epoch.value],
  );
  useEffect(() => {
    /** @type {number | undefined} */
    let timer;
    const stop = listen((event) => {
      if (event.run_id !== run.id || !['metrics', 'rewind', 'job'].includes(event.kind)) return;
      timer ??= setTimeout(() => {
        timer = undefined;
        setNews((n) => n + 1);
      }, 2000);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [run.id]);
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading the evaluation" height=${320} />`;
  if (found.rows === 0) return html`<${NotEvaluated} run=${run} />`;
  return html`
    ${
      found.steps.length > 1 &&
      html`<${StepChoice}
        label="Step that was evaluated"
        steps=${found.steps}
        step=${found.step ?? 0}
        onStep=${(/** @type {number} */ next) => setQuery({ step: next })}
      />`
    }
    <${Sums} run=${run} found=${found} query=${query} />
    ${run.method === 'eval' && html`<${Audit} run=${run} news=${news} />`}
    <${RowTable} run=${run} summary=${found} query=${query} />
  `;
}

/** How a run gets rows. @param {{ run: Api['RunEntry'] }} props */
function NotEvaluated({ run }) {
  return html`<${Empty} icon="check" title="No rows of an evaluation yet">
    <p>
      ${
        run.method === 'eval'
          ? 'They appear here as soon as the first of them are answered.'
          : html`A run keeps them every <code>eval_every</code> steps, unless <code>log_samples_every</code> is 0.`
      }
    </p>
    ${
      run.last_checkpoint &&
      refusal() === null &&
      html`<a class="button" href=${evaluating(run.last_checkpoint, run.dataset)}>
        <${Icon} name="check" />
        Evaluate its newest checkpoint
      </a>`
    }
  </${Empty}>`;
}

/** @param {{ run: Api['RunEntry'], found: Api['EvaluationSummary'], query: PageProps['query'] }} props */
function Sums({ run, found, query }) {
  const { accuracy, means, tags, focus_along: along } = found;
  const { tag = '' } = query;
  return html`
    <${Figures}
      items=${[
        [
          'Accuracy',
          percent(accuracy?.mean),
          accuracy
            ? `${percent(accuracy.low)} to ${percent(accuracy.high)} (95%)`
            : 'the reward does not judge answers',
        ],
        ['Right', number(found.right), `of ${number(found.rows)} rows`],
        ['Wrong', number(found.wrong), `${found.split === 'eval' ? 'held-out' : 'training'} rows of ${found.dataset}`],
        ['Focus', number(means.focus), 'mean over rows'],
        ['Focus late / early', number(means.late_early), 'mean over rows'],
        ['Attention to the image', number(means.attention_image), 'mean over rows'],
        [
          'Dependence on the image',
          number(means.image_dependence),
          means.image_dependence === null ? 'not measured' : 'nats a token, mean over rows',
        ],
      ]}
    />
    <${CompareWith} run=${run} step=${found.step} dataset=${found.dataset} />
    <div class="evaluation-pair">
      ${
        tags.length > 0 &&
        html`<section class="card" aria-label="Accuracy by tag">
          <h2>Accuracy by tag</h2>
          <p class="muted small-text">Lines are 95% intervals. A tag filters the rows below.</p>
          <div class="scroll tags-scroll" tabindex=${0}>
            <${Whiskers}
              label="Accuracy by tag"
              from=${0}
              to=${1}
              ends=${['0%', '100%']}
              items=${tags.map((one) => ({
                key: one.tag,
                label: one.tag,
                small: `${one.rows} ${one.rows === 1 ? 'row' : 'rows'}`,
                mean: one.accuracy.mean,
                low: one.accuracy.low,
                high: one.accuracy.high,
                text: percent(one.accuracy.mean),
                picked: tag === one.tag,
                onPick: () => setQuery({ tag: tag === one.tag ? '' : one.tag }),
              }))}
            />
          </div>
        </section>`
      }
      ${along && html`<section class="card"><${FocusAlong} along=${along} rows=${found.rows} /></section>`}
    </div>
  `;
}

/** @param {{ along: Api['FocusAlong'], rows: number }} props */
function FocusAlong({ along, rows }) {
  const series = useMemo(() => {
    const x = along.all.map((_, i) => (i + 0.5) / along.all.length);
    /** @type {[label: string, colour: number, values: (number | null | undefined)[]][]} */
    const lines = [
      ['all answers', 7, along.all],
      ['right answers', 2, along.right],
      ['wrong answers', 6, along.wrong],
    ];
    return lines
      .map(([label, n, values]) => ({ label, colour: colourOf(n), x, y: values.map((value) => value ?? null) }))
      .filter((one) => one.y.some((value) => value !== null));
  }, [along, theme.value]);
  return html`<${Chart}
    title="Focus along the answer"
    note=${`Mean over the tokens of all answers to ${number(rows)} rows, by position.`}
    series=${series}
    kind="progress"
    height=${210}
  />`;
}

/**
 * Another run on the same rows.
 * @param {{ run: Api['RunEntry'], step: number | null | undefined, dataset: string }} props
 */
function CompareWith({ run, step, dataset }) {
  useEffect(() => {
    if (!runs.value) load();
  }, []);
  const others = (runs.value ?? []).filter((one) => one.id !== run.id && one.dataset === dataset);
  /** @param {string} other */
  const open = (other) => go(['versus'], { a: other, b: run.id, with_step: step });
  return html`<div class="toolbar evaluation-tools">
    ${
      others.length > 0 &&
      html`<label class="inline">
        Same rows, compared with${' '}
        <select
          value=""
          onChange=${(e) => {
            if (e.currentTarget.value) open(e.currentTarget.value);
          }}
        >
          <option value="">choose a run …</option>
          ${others.map((one) => html`<option value=${one.id}>${one.name} · ${one.id.slice(-4)}</option>`)}
        </select>
      </label>`
    }
    ${
      run.method !== 'eval' &&
      html`<a class="button small" href=${href(['versus'], { a: run.id, b: run.id, step: 0, with_step: step })}>
        Compare two of its steps
      </a>`
    }
    <span class="grow"></span>
    ${
      run.method === 'eval' &&
      html`<a
        class="button small"
        href=${address('/v1/runs/{id}/rows', { path: { id: run.id } })}
        download=${`${run.id}.jsonl`}
      >
        <${Icon} name="download" />
        All rows (JSON lines)
      </a>`
    }
  </div>`;
}
