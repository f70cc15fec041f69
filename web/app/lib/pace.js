// How long a job may take, by what runs like it took on this machine.
import { get, query } from './api.js';

const responses = ({ method, batch, rollout }) =>
  batch.prompts_per_step * (method.type === 'sft' ? 1 : rollout.group_size);

/**
 * The newest run of the same model, data set and method that made steps: {run, perStep, responses, seconds}, where
 * `seconds` is for the whole job, its steps as much longer as they hold more responses. Null where there is no such run.
 */
export async function pace({ spec }, signal) {
  const asked = query({
    model: spec.model,
    dataset: spec.dataset,
    include: 'summary',
    keys: 'time/step',
    limit: 50,
  });
  const { data } = await get(`/v1/runs${asked}`, { signal });
  const run = data.find(({ method, summary }) => method === spec.method.type && summary?.['time/step']?.last > 0);
  if (!run || !spec.batch || !spec.rollout) return null;
  const { spec: old } = await get(`/v1/jobs/${run.job_id}`, { signal });
  const perStep = run.summary['time/step'].last;
  return {
    run,
    perStep,
    responses: responses(old),
    seconds: (spec.steps * perStep * responses(spec)) / responses(old),
  };
}
