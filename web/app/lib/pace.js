// How long a job may take, by what runs like it took on this machine.
import { get } from './api.js';

/** @param {Api['JobSpec']} spec */
const responses = ({ method, batch, rollout }) =>
  batch.prompts_per_step * (method.type === 'sft' ? 1 : rollout.group_size);

/**
 * The newest run of the same model, data set and method that made steps: {run, perStep, responses, seconds}, where
 * `seconds` is for the whole job, its steps as much longer as they hold more responses. Null where there is no such
 * run.
 * @param {Api['JobPlan']} plan
 * @param {AbortSignal} signal
 */
export async function pace({ spec }, signal) {
  const { model, dataset } = spec;
  const { data } = await get('/v1/runs', {
    query: { model, dataset, include: 'summary', keys: 'time/step', limit: 50 },
    signal,
  });
  /** @param {Api['RunEntry']} run */
  const secondsOf = (run) => run.summary?.['time/step']?.last ?? 0;
  const run = data.find((one) => one.method === spec.method.type && secondsOf(one) > 0);
  if (!run || !spec.batch || !spec.rollout) return null;
  const { spec: old } = await get('/v1/jobs/{id}', { path: { id: run.job_id }, signal });
  const perStep = secondsOf(run);
  return {
    run,
    perStep,
    responses: responses(old),
    seconds: (spec.steps * perStep * responses(spec)) / responses(old),
  };
}
