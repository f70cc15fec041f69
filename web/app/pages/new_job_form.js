// What the form of a new job holds: a request, the settings that it varies, and texts without meaning.
import { useState } from '../lib/html.js';
import { fitting, preferred } from '../lib/models.js';
import { assign, keysOf, requested, unset } from '../lib/settings.js';
import { firstOf, freed, without } from '../lib/vary.js';

/**
 * @typedef {import('./new_job.js').Request} Request
 * @typedef {import('../lib/vary.js').Grid} Grid
 */

/**
 * The request that the page begins with.
 * @param {import('./new_job.js').Found} found
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
 * What is asked of the server: a job, or a sweep where something is varied.
 * @param {Request} request
 * @param {Grid} grid
 */
export const askedOf = (request, grid) =>
  Object.keys(grid).length === 0
    ? { path: /** @type {const} */ ('/v1/jobs'), body: request }
    : { path: /** @type {const} */ ('/v1/sweeps'), body: { job: request, grid } };

/** @typedef {ReturnType<typeof askedOf>} Asked */

/**
 * @param {import('./new_job.js').Found} found
 * @param {PageProps['query']} query
 */
export function useForm(found, query) {
  const [{ request, grid }, update] = useState(() => ({
    request: beginning(found, query),
    grid: /** @type {Grid} */ ({}),
  }));
  const [wrongs, setWrongs] = useState(() => /** @type {Map<string, string>} */ (new Map()));
  const [resets, setResets] = useState(/** @type {Record<string, number>} */ ({}));
  return {
    request,
    grid,
    /** A job that can be looked at: the only one, or that of the sweep's first point. */
    first: firstOf(request, grid),
    wrongs,
    resets,
    /**
     * @param {string} pointer
     * @param {unknown} value
     */
    set: (pointer, value) =>
      update((old) => ({ ...old, request: assign(structuredClone(old.request), keysOf(pointer), value) })),
    /**
     * Another method: the settings of the one before go with it.
     * @param {string} type
     */
    chooseMethod: (type) =>
      update((old) => ({ request: { ...old.request, method: { type } }, grid: without(old.grid, '/method') })),
    /**
     * Several values for a setting; null: the first of them alone. Methods have settings of their own, so those that
     * are compared come with their defaults.
     * @param {string} pointer
     * @param {unknown[] | null} values
     */
    vary: (pointer, values) =>
      update(({ request: job, grid: all }) => {
        const { [pointer]: old, ...rest } = all;
        if (values === null)
          return { request: old?.length ? assign(structuredClone(job), keysOf(pointer), old[0]) : job, grid: rest };
        const methods = pointer === '/method/type';
        const kept = methods && old === undefined ? without(all, '/method') : all;
        return { request: freed(job, methods ? '/method' : pointer), grid: { ...kept, [pointer]: values } };
      }),
    /**
     * Why the text of a field has no meaning; null: it has one.
     * @param {string} pointer
     * @param {string | null} why
     */
    mark: (pointer, why) =>
      setWrongs((old) => {
        const next = new Map(old);
        if (why === null) next.delete(pointer);
        else next.set(pointer, why);
        return next;
      }),
    /** @param {string} pointer */
    reset: (pointer) => {
      update((old) => ({ request: freed(old.request, pointer), grid: without(old.grid, pointer) }));
      // A new field: a text that had no meaning is gone too.
      setResets((old) => ({ ...old, [pointer]: (old[pointer] ?? 0) + 1 }));
    },
  };
}
