// A job: what is asked, what it would become (a dry run after every change), and off it goes.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { get, post } from '../lib/api.js';
import { keyHeader } from '../lib/asking.js';
import { epoch } from '../lib/live.js';
import { answerers, fitting } from '../lib/models.js';
import { variants } from '../lib/schema.js';
import { assign, flat, requested, show } from '../lib/settings.js';
import { go } from '../lib/router.js';
import { Failure, Field, Loading, Select, useLoad } from '../parts/common.js';
import { Setting } from '../parts/setting.js';
import { attempt, sayCopied } from '../parts/ask.js';
import { Icon } from '../parts/icon.js';
import { Plan } from './new_job_plan.js';
import { Rows } from '../parts/rows.js';
import { TryReward } from '../parts/try_reward.js';

/** The settings that most people change; the rest is behind "All settings". */
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

export default function NewJob({ query }) {
  const [found, error, again] = useLoad(
    async (signal) => {
      const [models, datasets, like] = await Promise.all([
        answerers(signal),
        get('/v1/datasets', { signal }),
        query.like ? get(`/v1/jobs/${query.like}`, { signal }) : null,
      ]);
      return { models, datasets: datasets.data, like };
    },
    [query.like, epoch.value],
  );
  useEffect(() => {
    document.title = 'New job · VGPO';
  }, []);
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading models and data sets" height=${400} />`;
  return html`<${Form} key=${query.like || ''} found=${found} query=${query} />`;
}

/** The request that the page begins with. */
function beginning({ models, datasets, like }, query) {
  if (like) return requested(like.spec, like.origins);
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

function Form({ found, query }) {
  const [request, setRequest] = useState(() => beginning(found, query));
  const [plan, setPlan] = useState({ loading: true });
  const [starting, setStarting] = useState(false);
  const round = useRef(0);
  useEffect(() => {
    const mine = (round.current += 1);
    const timer = setTimeout(() => {
      post('/v1/jobs?dry_run=true', request).then(
        (value) => {
          if (mine === round.current) setPlan({ value });
        },
        (error) => {
          if (mine === round.current) setPlan((old) => ({ value: old.value, error }));
        },
      );
    }, 250);
    return () => clearTimeout(timer);
  }, [JSON.stringify(request)]);
  const set = (pointer, value) => setRequest((old) => assign(structuredClone(old), pointer.split('/').slice(1), value));
  const chooseMethod = (type) => setRequest((old) => ({ ...old, method: { type } }));
  const start = async () => {
    setStarting(true);
    const key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    await attempt(async () => {
      const job = await post('/v1/jobs', request, { headers: { 'idempotency-key': key } });
      go(['runs', job.run_id]);
    }, 'The job is in the queue');
    setStarting(false);
  };
  const spec = plan.value?.spec;
  const faults = new Map((plan.error?.fields || []).map((f) => [f.pointer, f.detail]));
  const values = spec ? flat(spec) : {};
  const field = (pointer) =>
    pointer in values
      ? html`<${Setting}
        key=${pointer}
        pointer=${pointer}
        values=${spec}
        value=${valueOf(request, pointer, values[pointer])}
        origin=${plan.value.origins[pointer]}
        wrong=${faults.get(pointer)}
        onChange=${(value) => set(pointer, value)}
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
              onChange=${(v) => set('/model', v)}
              help=${faults.get('/model')}
            />
            <${Select}
              label="Data set"
              value=${request.dataset}
              options=${ready.map((d) => [d.name, d.name])}
              onChange=${(v) => set('/dataset', v)}
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
              options=${variants('Method').map(([type, text]) => [
                type,
                `${type}${text ? `: ${text.split('.')[0].slice(0, 60)}` : ''}`,
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
            set=${(reward) => setRequest((old) => ({ ...old, reward }))}
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
          <pre class="code" tabindex="0">${JSON.stringify(request, null, 2)}</pre>
        </details>
      </aside>
    </div>
  `;
}

/** What was asked, even while the server says that it is wrong; else what it became. */
function valueOf(request, pointer, settled) {
  const asked = pointer
    .split('/')
    .slice(1)
    .reduce((at, key) => at?.[key], request);
  return asked === undefined || (typeof asked === 'object' && asked !== null && !Array.isArray(asked))
    ? settled
    : asked;
}

function sections(pointers) {
  const found = new Map();
  for (const pointer of pointers) {
    const parts = pointer.split('/');
    const name = parts.length > 2 ? parts[1] : 'job';
    found.set(name, [...(found.get(name) || []), pointer]);
  }
  return [...found];
}

/** A reward by its kind, or as JSON for those with settings and parts. */
function Reward({ request, spec, set, faults, dataset }) {
  const reward = request.reward ?? spec?.reward ?? { type: 'math' };
  const [text, setText] = useState(null);
  const [wrong, setWrong] = useState(null);
  const kinds = variants('RewardSpec');
  const change = (next) => {
    setText(next);
    try {
      set(JSON.parse(next));
      setWrong(null);
      setText(null);
    } catch (error) {
      setWrong(error.message);
    }
  };
  const fault = [...faults].find(([pointer]) => pointer.startsWith('/reward'));
  return html`
    <div class="fields">
      <${Select}
        label="Kind"
        value=${reward.type}
        onChange=${(type) => {
          setText(null);
          set(START[type] ?? { type });
        }}
        options=${kinds.map(([type]) => [type, type])}
        help=${kinds.find(([type]) => type === reward.type)?.[1]}
      />
      <${Field} label="As JSON" wrong=${wrong || (fault && `${fault[0]}: ${fault[1]}`)}>
        ${(a) => html`<textarea
          ...${a}
          class="mono"
          rows=${Math.min(10, show(text ?? JSON.stringify(reward, null, 2)).split('\n').length + 1)}
          spellcheck="false"
          value=${text ?? JSON.stringify(reward, null, 2)}
          onChange=${(e) => change(e.target.value)}
        ></textarea>`}
      </${Field}>
    </div>
    <${TryReward} reward=${reward} dataset=${dataset} />
  `;
}

/** What kinds with required settings begin with. */
const START = {
  regex: { type: 'regex', pattern: '\\d+' },
  weighted: {
    type: 'weighted',
    parts: [
      { weight: 0.9, reward: { type: 'math' } },
      { weight: 0.1, reward: { type: 'format' } },
    ],
  },
  webhook: { type: 'webhook', url: 'http://localhost:9000/' },
  image_text: { type: 'image_text', model: '/models/siglip-base-patch16-224', score: 'cosine' },
};
