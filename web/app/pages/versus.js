// Two evaluations of the same rows: what was fixed and what was broken, by how much, and both answers side by side.
import { html, useEffect } from '../lib/html.js';
import { get } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { load, runs } from '../lib/runs.js';
import { number, percent } from '../lib/format.js';
import { href, setQuery } from '../lib/router.js';
import { Empty, Failure, Field, Figures, Loading, useLoad } from '../parts/common.js';
import { Icon } from '../parts/icon.js';
import { StepChoice } from '../parts/step_choice.js';
import { Whiskers } from '../parts/whiskers.js';
import { PairTable } from './versus_rows.js';

/** @param {PageProps} props */
export default function Versus({ query }) {
  useEffect(() => {
    document.title = 'Same rows, two models · VGPO';
    if (!runs.value) load();
  }, []);
  const { a, b } = query;
  return html`
    <nav class="crumbs" aria-label="Where you are"><a href="#/runs">Runs</a> / Same rows</nav>
    <div class="head"><h1 class="grow">Same rows, two models</h1></div>
    <${Choice} query=${query} />
    ${
      a && b
        ? html`<${Pair} key=${`${a} ${b}`} a=${a} b=${b} query=${query} />`
        : html`<${Empty} icon="check" title="Choose two runs">
          <p>Their answers to the same rows are compared one by one.</p>
        </${Empty}>`
    }
  `;
}

/** Which two runs. @param {{ query: PageProps['query'] }} props */
function Choice({ query }) {
  const { a = '', b = '' } = query;
  const all = runs.value ?? [];
  /**
   * @param {'a' | 'b'} side
   * @param {string} label
   */
  const choose = (side, label) => html`<${Field} label=${label}>
    ${(/** @type {FieldAttributes} */ attributes) => html`<select
      ...${attributes}
      value=${query[side] ?? ''}
      onChange=${(e) => setQuery({ [side]: e.currentTarget.value, change: '' })}
    >
      <option value="">choose a run …</option>
      ${all.map(
        (run) => html`<option value=${run.id} selected=${run.id === query[side]}>
          ${run.name} · ${run.dataset} · ${run.id.slice(-4)}
        </option>`,
      )}
    </select>`}
  </${Field}>`;
  return html`<div class="versus-heads">
    ${choose('a', 'First (A)')}
    <button
      class="icon"
      aria-label="Swap the two"
      title="Swap"
      onClick=${() => setQuery({ a: b, b: a, step: query.with_step, with_step: query.step, change: '' })}
    >
      <${Icon} name="retry" />
    </button>
    ${choose('b', 'Second (B)')}
  </div>`;
}

/** @param {string | undefined} text */
const stepOf = (text) => (text ? Number(text) : undefined);

/** @param {{ a: string, b: string, query: PageProps['query'] }} props */
function Pair({ a, b, query }) {
  const step = stepOf(query.step);
  const withStep = stepOf(query.with_step);
  const wanted = {
    with: b,
    ...(step === undefined ? {} : { step }),
    ...(withStep === undefined ? {} : { with_step: withStep }),
  };
  const [found, error, again, loading] = useLoad(
    (signal) => get('/v1/runs/{id}/eval-rows/compare', { path: { id: a }, query: { ...wanted, limit: 1 }, signal }),
    [a, b, step, withStep, epoch.value],
  );
  if (error && (!found || !loading)) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Comparing the answers" height=${320} />`;
  return html`
    <${Steps} found=${found} query=${query} />
    <${Verdict} found=${found} />
    <${Counts} found=${found} />
    <${Differences} found=${found} />
    <${PairTable} found=${found} wanted=${wanted} query=${query} />
  `;
}

/**
 * One slider for two runs: each takes its newest evaluation that is not later. A run against itself has two.
 * @param {{ found: Api['EvalComparison'], query: PageProps['query'] }} props
 */
function Steps({ found, query }) {
  const { a, b } = found;
  const apart = a.run_id === b.run_id || query.with_step !== undefined;
  if (apart)
    return html`
      ${
        a.steps.length > 1 &&
        html`<${StepChoice}
          label="Step of A"
          steps=${a.steps}
          step=${a.step ?? 0}
          onStep=${(/** @type {number} */ next) => setQuery({ step: next, with_step: b.step ?? '' })}
        >
          <span class="badge plain">A</span>
        </${StepChoice}>`
      }
      ${
        b.steps.length > 1 &&
        html`<${StepChoice}
          label="Step of B"
          steps=${b.steps}
          step=${b.step ?? 0}
          onStep=${(/** @type {number} */ next) => setQuery({ step: a.step ?? '', with_step: next })}
        >
          <span class="badge plain">B</span>
        </${StepChoice}>`
      }
    `;
  const first = Math.max(a.steps[0] ?? 0, b.steps[0] ?? 0);
  const steps = [...new Set([...a.steps, ...b.steps])].filter((one) => one >= first).sort((x, y) => x - y);
  if (steps.length < 2) return null;
  return html`<${StepChoice}
    label="Step of both"
    steps=${steps}
    step=${query.step ? Number(query.step) : steps[steps.length - 1]}
    onStep=${(/** @type {number} */ next) => setQuery({ step: next })}
  />`;
}

/** @param {Api['ComparedEvaluation']} side */
const at = (side) => (typeof side.step === 'number' ? `step ${side.step}` : `model ${side.model}`);

/** What the numbers say, in a sentence. @param {{ found: Api['EvalComparison'] }} props */
function Verdict({ found }) {
  const accuracy = found.differences.find((one) => one.measure === 'accuracy');
  const between = accuracy?.difference;
  /**
   * @param {string} letter
   * @param {Api['ComparedEvaluation']} side
   */
  const link = (letter, side) =>
    html`<a href=${href(['runs', side.run_id, 'evaluation'], { step: side.step })}>${letter}</a> (${at(side)})`;
  const names = html`${link('A', found.a)} and ${link('B', found.b)}`;
  if (!between) return html`<p class="versus-verdict">${names}: their reward does not judge answers.</p>`;
  const sure = between.low > 0 || between.high < 0;
  const points = (/** @type {number} */ value) => `${Math.abs(100 * value).toFixed(1)} points`;
  return html`<p class="versus-verdict">
    ${names} on ${number(found.rows)} common rows of ${found.dataset}:${' '}
    <b>
      ${
        between.mean === 0
          ? 'equally many right answers.'
          : `B is ${points(between.mean)} ${between.mean > 0 ? 'better' : 'worse'}.`
      }
    </b>${' '}
    ${
      sure
        ? 'The 95% interval of the difference excludes zero.'
        : 'The 95% interval of the difference includes zero: these rows do not tell which is better.'
    }
  </p>`;
}

/** @param {{ found: Api['EvalComparison'] }} props */
function Counts({ found }) {
  const { fixed, broken, both_right: right, both_wrong: wrong, unjudged } = found.changes;
  return html`<${Figures}
    items=${[
      ['Fixed', number(fixed), 'wrong in A, right in B'],
      ['Broken', number(broken), 'right in A, wrong in B'],
      ['Right in both', number(right), ''],
      ['Wrong in both', number(wrong), unjudged > 0 ? `${unjudged} without a verdict` : ''],
      ['p', number(found.p_value), 'McNemar’s exact test'],
    ]}
  />`;
}

/** @type {Record<string, { label: string, text: (value: number) => string, signed: (value: number) => string }>} */
const MEASURES = {
  accuracy: { label: 'Accuracy', text: percent, signed: (v) => `${plus(100 * v, 1)} points` },
  focus: { label: 'Focus', text: number, signed: (v) => plus(v, 4) },
  late_early: { label: 'Focus late / early', text: number, signed: (v) => plus(v, 4) },
  attention_image: { label: 'Attention to the image', text: number, signed: (v) => plus(v, 4) },
  image_dependence: { label: 'Dependence on the image', text: number, signed: (v) => `${plus(v, 4)} nats` },
  reward: { label: 'Reward', text: number, signed: (v) => plus(v, 4) },
};

/**
 * @param {number} value
 * @param {number} digits
 */
const plus = (value, digits) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;

/** @param {{ found: Api['EvalComparison'] }} props */
function Differences({ found }) {
  return html`<section class="section" aria-label="Paired differences">
    <div class="title">
      <h2>Paired differences, B − A</h2>
      <p class="muted">Row by row, with the 95% interval of the mean; each line has a scale of its own.</p>
    </div>
    <div class="card stack">
      ${found.differences.map((one) => {
        const { label, text, signed } = MEASURES[one.measure] ?? { label: one.measure, text: number, signed: number };
        const between = one.difference;
        if (!between) return null;
        const size = Math.max(Math.abs(between.low), Math.abs(between.high), Math.abs(between.mean)) * 1.1 || 1;
        return html`<${Whiskers}
          key=${one.measure}
          label=${`Difference of ${label}`}
          from=${-size}
          to=${size}
          zero=${0}
          ends=${[signed(-size), signed(size)]}
          items=${[
            {
              key: one.measure,
              label,
              small: `${text(one.a)} → ${text(one.b)}, ${number(one.rows)} rows`,
              mean: between.mean,
              low: between.low,
              high: between.high,
              text: `${signed(between.mean)} (${signed(between.low)} to ${signed(between.high)})`,
            },
          ]}
        />`;
      })}
    </div>
  </section>`;
}
