// A job: what is asked, what it would become (a dry run after every change), and off it goes.
import { html, useEffect, useState } from '../lib/html.js';
import { faultsOf, get, list, post } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { answerers, fitting, preferred } from '../lib/models.js';
import { variants } from '../lib/schema.js';
import { refusal } from '../lib/session.js';
import { assign, flat, keysOf, requested, unset, valueAt } from '../lib/settings.js';
import { Denied, Failure, Loading, Select, useLoad } from '../parts/common.js';
import { Setting } from '../parts/setting.js';
import { Rows } from '../parts/rows.js';
import { Plan } from './new_job_plan.js';
import { Reward } from './new_job_reward.js';
import { Changes, StartRow, useStart } from './new_job_start.js';

/**
 * @typedef {Api['JobRequest'] & { method?: { type: string }, reward?: Api['RewardSpec'] }} Request
 * @typedef {{
 *   models: import('../lib/models.js').Answerers, datasets: Api['DatasetEntry'][], like: Api['Job'] | null,
 * }} Found
 * @typedef {{ of?: string, value?: Api['JobPlan'] | undefined, error?: unknown }} Planned
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
/** What an evaluation does not use. */
const TRAINING =
  /^\/(steps|optimizer\/|train\/|checkpoint_|keep_|eval_every|eval_before|early_stop|best\/|log_samples)/;
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

/**
 * The settings of each part of the form.
 * @param {Record<string, unknown>} values
 * @param {string | undefined} method
 */
function partsOf(values, method) {
  const reads = method === 'eval';
  const all = Object.keys(values).filter((pointer) => !OWN.has(pointer) && !(reads && TRAINING.test(pointer)));
  const own = reads ? all.filter((pointer) => pointer.startsWith('/method/')) : METHOD;
  const often = reads ? OFTEN_READING : OFTEN;
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

/**
 * The request that the page begins with.
 * @param {Found} found
 * @param {PageProps['query']} query
 * @returns {Request}
 */
function beginning({ models, datasets, like }, query) {
  if (like) {
    const asked = requested(like.spec, /** @type {Record<string, string>} */ (like.origins));
    // An answer holds the host of a webhook alone: the whole address is to be given again.
    return asked.alerts?.webhook?.endsWith('…') ? unset(asked, ['alerts', 'webhook']) : asked;
  }
  const ready = datasets.filter((d) => d.state === 'ready');
  const model = query.model || preferred(models);
  return {
    model,
    dataset:
      query.dataset ||
      fitting(
        models.models.find(({ id }) => id === model),
        ready,
      )?.name ||
      '',
    ...(query.method ? { method: { type: query.method } } : {}),
  };
}

/**
 * The server's answer to a request that is not submitted yet. `of`: the request that it belongs to.
 * @param {Request} request
 * @param {number} wait how long the request must stay as it is, in milliseconds
 * @returns {Planned}
 */
function usePlan(request, wait) {
  const [plan, setPlan] = useState(/** @type {Planned} */ ({}));
  const text = JSON.stringify(request);
  useEffect(() => {
    let stale = false;
    const timer = setTimeout(() => {
      post('/v1/jobs', request, { query: { dry_run: true } }).then(
        (answer) => {
          if (!stale) setPlan({ of: text, value: /** @type {Api['JobPlan']} */ (answer) });
        },
        (error) => {
          if (!stale) setPlan((old) => ({ of: text, value: old.value, error }));
        },
      );
    }, wait);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [text, epoch.value]);
  return plan;
}

/** @param {{ found: Found, query: PageProps['query'] }} props */
function Form({ found, query }) {
  const [request, setRequest] = useState(() => beginning(found, query));
  const plan = usePlan(request, 250);
  const plain = { model: request.model, dataset: request.dataset };
  const base = usePlan(plain, 0);
  const usual = base.of === JSON.stringify(plain) && base.error === undefined ? base.value : undefined;
  const [wrongs, setWrongs] = useState(() => /** @type {Map<string, string>} */ (new Map()));
  const [resets, setResets] = useState(/** @type {Record<string, number>} */ ({}));
  /**
   * @param {string} pointer
   * @param {unknown} value
   */
  const set = (pointer, value) => setRequest((old) => assign(structuredClone(old), keysOf(pointer), value));
  /**
   * Why the text of a field has no meaning; null: it has one.
   * @param {string} pointer
   * @param {string | null} why
   */
  const mark = (pointer, why) =>
    setWrongs((old) => {
      const next = new Map(old);
      if (why === null) next.delete(pointer);
      else next.set(pointer, why);
      return next;
    });
  /** @param {string} pointer */
  const reset = (pointer) => {
    setRequest((old) => unset(old, keysOf(pointer)));
    // A new field: a text that had no meaning is gone too.
    setResets((old) => ({ ...old, [pointer]: (old[pointer] ?? 0) + 1 }));
  };
  const starter = useStart(request, plan, wrongs.size > 0);
  const spec = plan.value?.spec;
  const faults = new Map(faultsOf(plan.error).map((f) => [f.pointer, f.detail]));
  const values = spec ? flat(spec) : {};
  const { own, often, rest } = partsOf(values, request.method?.type ?? spec?.method.type);
  /** @param {string} pointer */
  const field = (pointer) =>
    spec && pointer in values
      ? html`<${Setting}
        key=${`${pointer} ${resets[pointer] ?? 0}`}
        pointer=${pointer}
        values=${spec}
        value=${valueOf(request, pointer, values[pointer])}
        origin=${plan.value?.origins[pointer]}
        wrong=${faults.get(pointer)}
        onChange=${(/** @type {unknown} */ value) => set(pointer, value)}
        onWrong=${(/** @type {string | null} */ why) => mark(pointer, why)}
      />`
      : null;
  const ready = found.datasets.filter((d) => d.state === 'ready');
  return html`
    <div class="head">
      <div class="grow">
        <h1>New job</h1>
        <p class="lead">
          Only model and dataset are required. Everything else has a default, marked with its source.
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
      <form class="stack" onSubmit=${(e) => e.preventDefault()}>
        <fieldset class="card">
          <legend>What</legend>
          <div class="fields">
            <${Select}
              label="Model"
              value=${request.model}
              options=${found.models.choices}
              onChange=${(/** @type {string} */ v) => set('/model', v)}
              wrong=${faults.get('/model')}
            />
            <${Select}
              label="Data set"
              value=${request.dataset}
              options=${ready.map((d) => [d.name, d.name])}
              onChange=${(/** @type {string} */ v) => set('/dataset', v)}
              wrong=${faults.get('/dataset')}
            />
            ${field('/name')}
          </div>
          ${request.dataset && html`<${Rows} dataset=${request.dataset} small=${true} />`}
        </fieldset>
        <fieldset class="card">
          <legend>Method</legend>
          <div class="fields">
            <${Select}
              label="Method"
              value=${request.method?.type ?? spec?.method.type ?? 'vgpo'}
              onChange=${(/** @type {string} */ type) => setRequest((old) => ({ ...old, method: { type } }))}
              options=${variants('Method').map(({ type, description }) => [type, titled(type, description)])}
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
            set=${(/** @type {Api['RewardSpec']} */ reward) => setRequest((old) => ({ ...old, reward }))}
            mark=${(/** @type {string | null} */ why) => mark('/reward', why)}
            faults=${faults}
            dataset=${request.dataset}
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
        <${Changes} request=${request} plan=${plan} base=${usual} wrongs=${wrongs} reset=${reset} />
        <${StartRow} request=${request} starter=${starter} />
        <${Plan} plan=${plan} faults=${faults} />
        <details>
          <summary>The request</summary>
          <pre class="code" tabindex=${0}>${JSON.stringify(request, null, 2)}</pre>
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
