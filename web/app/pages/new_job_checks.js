// Dry runs of what the form of a new job holds.
import { useEffect, useState } from '../lib/html.js';
import { faultsOf, post } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { keysOf } from '../lib/settings.js';

/**
 * The server's answer to a request that is not submitted yet. `of`: the request that it belongs to.
 * @template T
 * @typedef {{ of?: string, value?: T | undefined, error?: unknown }} PlannedAs
 */
/**
 * @typedef {{ '/v1/jobs': Api['JobPlan'], '/v1/sweeps': Api['SweepPlan'] }} Plans
 * @typedef {PlannedAs<Api['JobPlan']>} Planned
 * @typedef {PlannedAs<Api['SweepPlan']>} PlannedSweep
 */

/**
 * @template {keyof Plans} P
 * @param {P} path
 * @param {any} request nothing is asked without one
 * @param {number} wait how long the request must stay as it is, in milliseconds
 * @returns {PlannedAs<Plans[P]>}
 */
export function usePlan(path, request, wait) {
  const [plan, setPlan] = useState(/** @type {PlannedAs<Plans[P]>} */ ({}));
  const text = JSON.stringify(request);
  useEffect(() => {
    if (request === null) return;
    let stale = false;
    const timer = setTimeout(() => {
      post(/** @type {'/v1/jobs'} */ (path), request, { query: { dry_run: true } }).then(
        (answer) => {
          if (!stale) setPlan({ of: text, value: /** @type {Plans[P]} */ (/** @type {unknown} */ (answer)) });
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

/**
 * What the server says of a sweep, by the field that it is about.
 * @param {unknown} error
 */
export const sweepFaults = (error) =>
  faultsOf(error).map(({ pointer, detail }) => {
    const [part, name] = keysOf(pointer);
    if (part === 'grid' && name !== undefined) return { pointer: name, detail };
    return { pointer: part === 'job' ? pointer.slice('/job'.length) : pointer, detail };
  });
