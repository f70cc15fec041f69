// Everything that can answer: registered models and checkpoints of runs.
import { get, list } from './api.js';

/** Models, checkpoints and runs, and a choice of names for a select. */
export async function answerers(signal) {
  const [models, checkpoints, runs] = await Promise.all([
    get('/v1/models', { signal }).then((answer) => answer.data.filter((model) => model.state === 'ready')),
    list('/v1/checkpoints', 1000, { signal }),
    list('/v1/runs', 1000, { signal }),
  ]);
  const byRun = new Map();
  for (const one of checkpoints) byRun.set(one.run_id, [...(byRun.get(one.run_id) || []), one]);
  const groups = runs
    .filter((run) => byRun.has(run.id))
    .map((run) => ({
      label: `run ${run.name} · ${run.id.slice(-4)}`,
      options: [
        [`${run.id}@best`, `${run.name}: best`],
        [`${run.id}@last`, `${run.name}: last`],
        ...byRun
          .get(run.id)
          .sort((a, b) => a.step - b.step)
          .map((c) => [c.id, `${run.name}: step ${c.step}`]),
      ],
    }));
  return {
    models,
    checkpoints,
    runs,
    choices: [{ label: 'models', options: models.map((m) => [m.id, m.id]) }, ...groups],
  };
}

/** Where a name leads: the registered model whose card applies, and the data set it was trained on. */
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

/** The data set to begin with: one that the model's card names, else the first. */
export const fitting = (model, datasets) =>
  datasets.find(({ name }) => new RegExp(`\\b${name}\\b`).test(model?.card?.task ?? '')) ?? datasets[0];
