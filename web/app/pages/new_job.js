// A job: what is asked, what it would become (a dry run after every change), and off it goes.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { asError, faultsOf, get, list, post } from '../lib/api.js';
import { keyHeader } from '../lib/asking.js';
import { epoch } from '../lib/live.js';
import { answerers, fitting } from '../lib/models.js';
import { variants } from '../lib/schema.js';
import { assign, flat, keysOf, requested, show, valueAt } from '../lib/settings.js';
import { go } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { Denied, Failure, Field, Loading, Select, useLoad } from '../parts/common.js';
import { Setting } from '../parts/setting.js';
import { attempt, sayCopied } from '../parts/ask.js';
import { Icon } from '../parts/icon.js';
import { Plan } from './new_job_plan.js';
import { Rows } from '../parts/rows.js';
import { TryReward } from '../parts/try_reward.js';

/**
 * @typedef {Api['JobRequest'] & { method?: { type: string }, reward?: Api['RewardSpec'] }} Request
 * @typedef {{
 *   models: import('../lib/models.js').Answerers, datasets: Api['DatasetEntry'][], like: Api['Job'] | null,
 * }} Found
 * @typedef {{ value?: Api['JobPlan'] | undefined, error?: unknown }} Planned
 */

/** The settings that most people change; the rest is under "All settings". */
const OFTEN = [
  '/name',
  '/steps',
  '/optimizer/learning_rate',
  '/rollout/group_size',
  '/batch/prompts_per_step',
  '/rollout/max_new_tokens',
  '/rollout/temperature',
  '/seed',
];
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
const OWN = new Set(['/model', '/dataset', '/method/type', '/reward/type']);

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
  return html`<${Form} key=${query.like || ''} found=${found} query=${query} />`;
}

/**
 * The request that the page begins with.
 * @param {Found} found
 * @param {PageProps['query']} query
 * @returns {Request}
 */
function beginning({ models, datasets, like }, query) {
  if (like) return requested(like.spec, /** @type {Record<string, string>} */ (like.origins));
  const ready = datasets.filter((d) => d.state === 'ready');
  const model = query.model || models.models[0]?.id || '';
  return {
    model,
    dataset:
      query.dataset ||
      fitting(
        models.models.find(({ id }) => id === model),
        ready,
      )?.name ||
      '',
  };
}

/** @param {{ found: Found, query: PageProps['query'] }} props */
function Form({ found, query }) {
  const [request, setRequest] = useState(() => beginning(found, query));
  const [plan, setPlan] = useState(/** @type {Planned} */ ({}));
  const [starting, setStarting] = useState(false);
  const round = useRef(0);
  useEffect(() => {
    const mine = (round.current += 1);
    const timer = setTimeout(() => {
      post('/v1/jobs', request, { query: { dry_run: true } }).then(
        (answer) => {
          const value = /** @type {Api['JobPlan']} */ (answer);
          if (mine === round.current) setPlan({ value });
        },
        (error) => {
          if (mine === round.current) setPlan((old) => ({ value: old.value, error }));
        },
      );
    }, 250);
    return () => clearTimeout(timer);
  }, [JSON.stringify(request)]);
  /**
   * @param {string} pointer
   * @param {unknown} value
   */
  const set = (pointer, value) => setRequest((old) => assign(structuredClone(old), keysOf(pointer), value));
  /** @param {string} type */
  const chooseMethod = (type) => setRequest((old) => ({ ...old, method: { type } }));
  const start = async () => {
    setStarting(true);
    const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    await attempt(async () => {
      const answer = await post('/v1/jobs', request, { headers: { 'idempotency-key': key } });
      go(['runs', /** @type {Api['SubmittedJob']} */ (answer).run_id]);
    }, 'The job is in the queue');
    setStarting(false);
  };
  const spec = plan.value?.spec;
  const faults = new Map(faultsOf(plan.error).map((f) => [f.pointer, f.detail]));
  const values = spec ? flat(spec) : {};
  /** @param {string} pointer */
  const field = (pointer) =>
    spec && pointer in values
      ? html`<${Setting}
        key=${pointer}
        pointer=${pointer}
        values=${spec}
        value=${valueOf(request, pointer, values[pointer])}
        origin=${plan.value?.origins[pointer]}
        wrong=${faults.get(pointer)}
        onChange=${(/** @type {unknown} */ value) => set(pointer, value)}
      />`
      : null;
  const ready = found.datasets.filter((d) => d.state === 'ready');
  const rest = Object.keys(values).filter((p) => !OWN.has(p) && !OFTEN.includes(p) && !METHOD.includes(p));
  const body = JSON.stringify(request).replaceAll("'", "'\\''");
  const curl = `curl -s ${location.origin}/v1/jobs${keyHeader()} -H 'content-type: application/json' -d '${body}'`;
  return html`
    <div class="head">
      <div class="grow">
        <h1>New job</h1>
        <p class="lead">
          Only the model and the data set are needed; everything else has a value already, and says where it
          comes from.
        </p>
      </div>
    </div>
    <div class="new-job">
      <form
        class="stack"
        onSubmit=${(e) => {
          e.preventDefault();
          if (!plan.error) start();
        }}
      >
        <fieldset class="card">
          <legend>What</legend>
          <div class="fields">
            <${Select}
              label="Model"
              value=${request.model}
              options=${found.models.choices}
              onChange=${(/** @type {string} */ v) => set('/model', v)}
              help=${faults.get('/model')}
            />
            <${Select}
              label="Data set"
              value=${request.dataset}
              options=${ready.map((d) => [d.name, d.name])}
              onChange=${(/** @type {string} */ v) => set('/dataset', v)}
              help=${faults.get('/dataset')}
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
              onChange=${chooseMethod}
              options=${variants('Method').map(({ type, description }) => [
                type,
                description ? `${type}: ${description.split('.')[0].slice(0, 60)}` : type,
              ])}
            />
            ${METHOD.map(field)}
          </div>
        </fieldset>
        <fieldset class="card">
          <legend>Size</legend>
          <div class="fields">${OFTEN.slice(1).map(field)}</div>
        </fieldset>
        <fieldset class="card">
          <legend>Reward</legend>
          <${Reward}
            request=${request}
            spec=${spec}
            set=${(/** @type {Api['RewardSpec']} */ reward) => setRequest((old) => ({ ...old, reward }))}
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
        <div class="row">
          <button class="primary" disabled=${Boolean(plan.error) || !spec || starting} onClick=${start}>
            <${Icon} name="play" />
            ${starting ? 'Starting …' : 'Start the job'}
          </button>
          <button type="button" onClick=${() => sayCopied(curl, 'The curl command')}>
            <${Icon} name="copy" />
            curl
          </button>
          <button type="button" onClick=${() => sayCopied(JSON.stringify(request, null, 2), 'The request')}>
            <${Icon} name="copy" />
            JSON
          </button>
        </div>
        <${Plan} plan=${plan} faults=${faults} />
        <details>
          <summary>The request</summary>
          <pre class="code" tabindex=${0}>${JSON.stringify(request, null, 2)}</pre>
        </details>
      </aside>
    </div>
  `;
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

/**
 * A reward by its kind, or as JSON for those with settings and parts.
 * @param {{
 *   request: Request, spec: Api['JobSpec'] | undefined, set: (reward: Api['RewardSpec']) => void,
 *   faults: Map<string, string>, dataset: string,
 * }} props
 */
function Reward({ request, spec, set, faults, dataset }) {
  const reward = request.reward ?? spec?.reward ?? /** @type {Api['RewardSpec']} */ ({ type: 'math' });
  const [text, setText] = useState(/** @type {string | null} */ (null));
  const [wrong, setWrong] = useState(/** @type {string | null} */ (null));
  const kinds = variants('RewardSpec');
  /** @param {string} next */
  const change = (next) => {
    setText(next);
    try {
      set(JSON.parse(next));
      setWrong(null);
      setText(null);
    } catch (error) {
      setWrong(asError(error).message);
    }
  };
  const fault = [...faults].find(([pointer]) => pointer.startsWith('/reward'));
  return html`
    <div class="fields">
      <${Select}
        label="Kind"
        value=${reward.type}
        onChange=${(/** @type {string} */ type) => {
          setText(null);
          set(kinds.find((kind) => kind.type === type)?.example ?? { type });
        }}
        options=${kinds.map(({ type }) => [type, type])}
        help=${kinds.find(({ type }) => type === reward.type)?.description}
      />
      <${Field} label="As JSON" wrong=${wrong || (fault && `${fault[0]}: ${fault[1]}`)}>
        ${(/** @type {FieldAttributes} */ a) => html`<textarea
          ...${a}
          class="mono"
          rows=${Math.min(10, show(text ?? JSON.stringify(reward, null, 2)).split('\n').length + 1)}
          spellcheck=${false}
          value=${text ?? JSON.stringify(reward, null, 2)}
          onChange=${(e) => change(e.currentTarget.value)}
        ></textarea>`}
      </${Field}>
    </div>
    <${TryReward} reward=${reward} dataset=${dataset} />
  `;
}
