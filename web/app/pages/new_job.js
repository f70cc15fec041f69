// A job: what is asked, what it would become (a dry run after every change), and off it goes.
import { html, useEffect } from '../lib/html.js';
import { faultsOf, get, list } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { answerers } from '../lib/models.js';
import { variants } from '../lib/schema.js';
import { refusal } from '../lib/session.js';
import { flat, keysOf, valueAt } from '../lib/settings.js';
import { canVary, jobsOf } from '../lib/vary.js';
import { Denied, Failure, Loading, useLoad } from '../parts/common.js';
import { Setting } from '../parts/setting.js';
import { Rows } from '../parts/rows.js';
import { VariedSelect } from '../parts/varied.js';
import { sweepFaults, usePlan } from './new_job_checks.js';
import { askedOf, useForm } from './new_job_form.js';
import { Plan, SweepSize } from './new_job_plan.js';
import { Reward } from './new_job_reward.js';
import { Changes, StartRow, useStart } from './new_job_start.js';

/**
 * @typedef {Api['JobRequest'] & { method?: { type: string }, reward?: Api['RewardSpec'] }} Request
 * @typedef {{
 *   models: import('../lib/models.js').Answerers, datasets: Api['DatasetEntry'][], like: Api['Job'] | null,
 * }} Found
 */

/** The settings that most people change; the rest is under "All settings". */
const OFTEN = [
  '/steps',
  '/optimizer/learning_rate',
  '/rollout/group_size',
  '/batch/prompts_per_step',
  '/rollout/max_new_tokens',
  '/rollout/temperature',
  '/seed',
];
/** An evaluation takes no steps: it reads rows. */
const OFTEN_READING = ['/eval_rows', '/eval/samples', '/eval/temperature', '/rollout/max_new_tokens', '/seed'];
const METHOD = [
  '/method/variant',
  '/method/beta',
  '/method/gamma',
  '/method/kappa',
  '/method/compensation',
  '/method/gate',
  '/method/intra',
  '/method/inter',
];
const OWN = new Set(['/model', '/dataset', '/name', '/method/type', '/reward/type']);
/** A part of a reward cannot be named alone: the list of parts is edited as JSON. */
const IN_LIST = /^\/reward\/.*\/\d+(\/|$)/;

/**
 * The settings of each part of the form. Where methods are compared, each has its own defaults.
 * @param {Record<string, unknown>} values
 * @param {Record<string, string>} origins
 * @param {string | undefined} method
 * @param {boolean} methods
 */
function partsOf(values, origins, method, methods) {
  const reads = method === 'eval';
  const all = Object.keys(values).filter(
    (pointer) =>
      !OWN.has(pointer) &&
      !IN_LIST.test(pointer) &&
      origins[pointer] !== 'unused' &&
      !(methods && pointer.startsWith('/method/')),
  );
  const own = reads || methods ? all.filter((pointer) => pointer.startsWith('/method/')) : METHOD;
  const often = (reads ? OFTEN_READING : OFTEN).filter((pointer) => origins[pointer] !== 'unused');
  return { own, often, rest: all.filter((pointer) => !own.includes(pointer) && !often.includes(pointer)) };
}

/** @param {PageProps} props */
export default function NewJob({ query }) {
  const why = refusal();
  useEffect(() => {
    document.title = 'New job · VGPO';
  }, []);
  return why === null
    ? html`<${Prepared} query=${query} />`
    : html`<${Denied} title="This key cannot start jobs" why=${why} />`;
}

/** @param {{ query: PageProps['query'] }} props */
function Prepared({ query }) {
  const [found, error, again] = useLoad(
    async (signal) => {
      const [models, datasets, like] = await Promise.all([
        answerers(signal),
        list('/v1/datasets', { signal }),
        query.like ? get('/v1/jobs/{id}', { path: { id: query.like }, signal }) : null,
      ]);
      return { models, datasets, like };
    },
    [query.like, epoch.value],
  );
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading models and data sets" height=${400} />`;
  const begun = [query.like, query.model, query.dataset, query.method].join(' ');
  return html`<${Form} key=${begun} found=${found} query=${query} />`;
}

/** @param {{ found: Found, query: PageProps['query'] }} props */
function Form({ found, query }) {
  const form = useForm(found, query);
  const { request, grid, first, wrongs, resets } = form;
  const sweeps = Object.keys(grid).length > 0;
  const plan = usePlan('/v1/jobs', first, 250);
  const sweepPlan = usePlan('/v1/sweeps', sweeps ? { job: request, grid } : null, 250);
  const plain = { model: first.model, dataset: first.dataset };
  const base = usePlan('/v1/jobs', plain, 0);
  const usual = base.of === JSON.stringify(plain) && base.error === undefined ? base.value : undefined;
  const asked = askedOf(request, grid);
  const checks = [
    { of: JSON.stringify(first), plan },
    ...(sweeps ? [{ of: JSON.stringify(asked.body), plan: sweepPlan }] : []),
  ];
  const starter = useStart(asked, first.model, checks, wrongs.size > 0);
  const spec = plan.value?.spec;
  const faults = new Map(
    [...faultsOf(plan.error), ...sweepFaults(sweeps ? sweepPlan.error : undefined)].map((f) => [f.pointer, f.detail]),
  );
  const values = spec ? flat(spec) : {};
  const { own, often, rest } = partsOf(
    values,
    plan.value?.origins ?? {},
    // That of the plan, whose values and origins are shown until the next one comes.
    spec?.method.type,
    '/method/type' in grid,
  );
  /**
   * @param {string} pointer
   * @returns {import('../parts/varied.js').Vary}
   */
  const varyOf = (pointer) => ({
    values: grid[pointer],
    set: (several) => form.vary(pointer, several),
    unread: wrongs.has(pointer),
  });
  /** @param {string} pointer */
  const field = (pointer) =>
    spec && pointer in values
      ? html`<${Setting}
        key=${`${pointer} ${resets[pointer] ?? 0}`}
        pointer=${pointer}
        values=${spec}
        value=${valueOf(first, pointer, values[pointer])}
        origin=${plan.value?.origins[pointer]}
        wrong=${faults.get(pointer)}
        onChange=${(/** @type {unknown} */ value) => form.set(pointer, value)}
        onWrong=${(/** @type {string | null} */ why) => form.mark(pointer, why)}
        vary=${canVary(pointer) ? varyOf(pointer) : undefined}
      />`
      : null;
  const ready = found.datasets.filter((d) => d.state === 'ready');
  return html`
    <div class="head">
      <div class="grow">
        <h1>New job</h1>
        <p class="lead">
          Only model and data set are required. Everything else has a default, marked with its source. “vary” tries
          several values of a setting: a sweep.
        </p>
      </div>
    </div>
    <div
      class="new-job"
      onKeyDown=${(e) => {
        if (e.key !== 'Enter' || !(e.ctrlKey || e.metaKey)) return;
        e.preventDefault();
        starter.start();
      }}
    >
      <a
        class="skip"
        href="#start"
        onClick=${(e) => {
          e.preventDefault();
          document.getElementById('start')?.focus();
        }}
      >
        To the start button
      </a>
      <form class="stack" onSubmit=${(e) => e.preventDefault()}>
        <fieldset class="card">
          <legend>What</legend>
          <div class="fields">
            <${VariedSelect}
              label="Model"
              value=${first.model}
              options=${found.models.choices}
              onChange=${(/** @type {string} */ v) => form.set('/model', v)}
              vary=${varyOf('/model')}
              wrong=${faults.get('/model')}
            />
            <${VariedSelect}
              label="Data set"
              value=${first.dataset}
              options=${ready.map((d) => [d.name, d.name])}
              onChange=${(/** @type {string} */ v) => form.set('/dataset', v)}
              vary=${varyOf('/dataset')}
              wrong=${faults.get('/dataset')}
            />
            ${field('/name')}
          </div>
          ${first.dataset && html`<${Rows} dataset=${first.dataset} small=${true} />`}
        </fieldset>
        <fieldset class="card">
          <legend>Method</legend>
          <div class="fields">
            <${VariedSelect}
              label="Method"
              value=${first.method?.type ?? spec?.method.type ?? 'vgpo'}
              onChange=${form.chooseMethod}
              options=${variants('Method').map(({ type, description }) => [type, titled(type, description)])}
              vary=${varyOf('/method/type')}
              wrong=${faults.get('/method/type')}
            />
            ${own.map(field)}
          </div>
        </fieldset>
        <fieldset class="card">
          <legend>Size</legend>
          <div class="fields">${often.map(field)}</div>
        </fieldset>
        <fieldset class="card">
          <legend>Reward</legend>
          <${Reward}
            key=${resets['/reward'] ?? 0}
            reward=${request.reward ?? spec?.reward ?? MATH}
            set=${(/** @type {Api['RewardSpec']} */ reward) => form.set('/reward', reward)}
            mark=${(/** @type {string | null} */ why) => form.mark('/reward', why)}
            faults=${faults}
            dataset=${first.dataset}
          />
        </fieldset>
        ${
          spec &&
          html`<details class="card">
            <summary>All settings (${rest.length} more)</summary>
            ${sections(rest).map(
              ([name, pointers]) => html`<fieldset key=${name} class="inner">
                <legend>${name}</legend>
                <div class="fields">${pointers.map(field)}</div>
              </fieldset>`,
            )}
          </details>`
        }
      </form>
      <aside class="stack plan" aria-label="What it would be">
        <${Changes} request=${request} grid=${grid} plan=${plan} base=${usual} wrongs=${wrongs} reset=${form.reset} />
        ${sweeps && html`<${SweepSize} grid=${grid} plan=${sweepPlan} known=${plan.value?.warnings ?? []} />`}
        <${StartRow} asked=${asked} jobs=${sweeps ? jobsOf(grid) : null} starter=${starter} />
        <${Plan} plan=${plan} sweeps=${sweeps} />
        <details>
          <summary>The request</summary>
          <pre class="code" tabindex=${0}>${JSON.stringify(asked.body, null, 2)}</pre>
        </details>
      </aside>
    </div>
  `;
}

/** @type {Api['RewardSpec']} */
const MATH = { type: 'math' };

/**
 * A method by its name and the first sentence about it.
 * @param {string} type
 * @param {string} description
 */
function titled(type, description) {
  const [first] = description.split(/\.(?=\s|$)/);
  return first ? `${type}: ${first}` : type;
}

/**
 * What was asked, even while the server says that it is wrong; else what it became.
 * @param {Request} request
 * @param {string} pointer
 * @param {unknown} settled
 */
function valueOf(request, pointer, settled) {
  const asked = valueAt(request, pointer);
  return asked === undefined || (typeof asked === 'object' && asked !== null && !Array.isArray(asked))
    ? settled
    : asked;
}

/** @param {string[]} pointers */
function sections(pointers) {
  /** @type {Map<string, string[]>} */
  const found = new Map();
  for (const pointer of pointers) {
    const keys = keysOf(pointer);
    const name = keys.length > 1 ? keys[0] : 'job';
    found.set(name, [...(found.get(name) || []), pointer]);
  }
  return [...found];
}
