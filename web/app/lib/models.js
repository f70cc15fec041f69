// Everything that can answer: registered models and checkpoints of runs.
import { get, list } from './api.js';
import { href } from './router.js';

/** @typedef {Awaited<ReturnType<typeof answerers>>} Answerers */

/** @param {Api['ModelEntry'][]} models */
const builtinFirst = (models) => [
  ...models.filter(({ source }) => source === 'builtin'),
  ...models.filter(({ source }) => source !== 'builtin'),
];

const LAST = 'vgpo.model';

/**
 * Keeps the name of a model that was used, to begin with it next time.
 * @param {string} name
 */
export function remember(name) {
  try {
    localStorage.setItem(LAST, name);
  } catch {
    /* not kept, then */
  }
}

/**
 * The model to begin with: the last one that was used, while it is there; else the first, which is built in. What
 * others serve changes nothing.
 * @param {Answerers} found
 */
export function preferred({ models, choices }) {
  let last = null;
  try {
    last = localStorage.getItem(LAST);
  } catch {
    /* none was kept */
  }
  const known = choices.some(({ options }) => options.some(([id]) => id === last));
  return last !== null && known ? last : (models[0]?.id ?? '');
}

/**
 * Models, checkpoints and runs, and a choice of names for a select.
 * @param {AbortSignal} signal
 */
export async function answerers(signal) {
  const [models, checkpoints, runs] = await Promise.all([
    get('/v1/models', { signal }).then(({ data }) => builtinFirst(data.filter((model) => model.state === 'ready'))),
    list('/v1/checkpoints', { most: 1000, signal }),
    list('/v1/runs', { most: 1000, signal }),
  ]);
  /** @type {Map<string, Api['Checkpoint'][]>} */
  const byRun = new Map();
  for (const one of checkpoints) byRun.set(one.run_id, [...(byRun.get(one.run_id) || []), one]);
  /** @type {OptionGroup[]} */
  const choices = [{ label: 'models', options: models.map((m) => [m.id, m.id]) }];
  for (const run of runs) {
    const own = (byRun.get(run.id) ?? []).sort((a, b) => a.step - b.step);
    if (own.length === 0) continue;
    choices.push({
      label: `run ${run.name} · ${run.id.slice(-4)}`,
      options: [
        [`${run.id}@best`, `${run.name}: best`],
        [`${run.id}@last`, `${run.name}: last`],
        ...own.map((c) => /** @type {[string, string]} */ ([c.id, `${run.name}: step ${c.step}`])),
      ],
    });
  }
  return { models, checkpoints, runs, choices };
}

/**
 * Where a name leads: the registered model whose card applies, and the data set it was trained on.
 * @param {Answerers} found
 * @param {string} name
 * @returns {{ model: Api['ModelEntry'] | undefined, dataset: string | null, run?: Api['RunEntry'] }}
 */
export function origin(found, name) {
  const model = found.models.find((m) => m.id === name);
  if (model) return { model, dataset: null };
  const runId = name.startsWith('run_') ? name.split('@')[0] : found.checkpoints.find((c) => c.id === name)?.run_id;
  const run = found.runs.find((r) => r.id === runId);
  if (!run) return { model: found.models[0], dataset: null };
  const base = run.base_model ?? run.model;
  return {
    model: origin({ ...found, runs: found.runs.filter((r) => r !== run) }, base).model,
    dataset: run.dataset,
    run,
  };
}

/**
 * The data set to begin with: one that the model's card names, else the first.
 * @param {Api['ModelEntry'] | undefined} model
 * @param {Api['DatasetEntry'][]} datasets
 * @returns {Api['DatasetEntry'] | undefined}
 */
export const fitting = (model, datasets) => {
  const words = new Set(/** @type {Card} */ (model?.card ?? {}).task?.split(/[^\w.-]+|\.(?=\s|$)/));
  return datasets.find(({ name }) => words.has(name)) ?? datasets[0];
};

/**
 * The address of a new job that evaluates a model or checkpoint.
 * @param {string} model
 * @param {string | undefined} dataset
 */
export const evaluating = (model, dataset) => href(['new'], { method: 'eval', model, dataset });
