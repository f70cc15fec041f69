// Where a run comes from and what came of it: models, checkpoints and runs, as a small tree.
import { html } from '../lib/html.js';
import { ApiError, get, list } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { href } from '../lib/router.js';
import { Badge, useLoad } from './common.js';

/** Runs before this one that are looked for. */
const DEEPEST = 12;
/** Checkpoints whose later runs are looked for. */
const MOST = 20;

/**
 * A run before this one, with the step of its checkpoint that went on; null: it is deleted.
 * @typedef {{ run: Api['Run'], step: number } | null} Before
 */

/** What is deleted is not a fault. @template T @param {Promise<T>} asked @returns {Promise<T | null>} */
const orGone = (asked) =>
  asked.catch((error) => {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  });

/**
 * Oldest first.
 * @param {Api['Run']} run
 * @param {AbortSignal} signal
 * @returns {Promise<Before[]>}
 */
async function before(run, signal) {
  /** @type {Before[]} */
  const found = [];
  let { model } = run;
  while (model.startsWith('ckpt_') && found.length < DEEPEST) {
    const checkpoint = await orGone(get('/v1/checkpoints/{id}', { path: { id: model }, signal }));
    const from = checkpoint && (await orGone(get('/v1/runs/{id}', { path: { id: checkpoint.run_id }, signal })));
    found.unshift(from ? { run: from, step: checkpoint.step } : null);
    if (!from) break;
    model = from.model;
  }
  return found;
}

/**
 * The runs that started from a checkpoint of this one.
 * @param {Api['Run']} run
 * @param {AbortSignal} signal
 */
async function later(run, signal) {
  const checkpoints = await list('/v1/checkpoints', { query: { run: run.id }, most: MOST, signal });
  const all = await Promise.all(
    checkpoints.slice(0, MOST).map(async (checkpoint) => ({
      checkpoint,
      runs: await list('/v1/runs', { query: { model: checkpoint.id }, most: 50, signal }),
    })),
  );
  return all.filter(({ runs }) => runs.length > 0).reverse();
}

/** @param {{ run: Api['Run'] }} props */
export function Lineage({ run }) {
  const [found] = useLoad(
    async (signal) => {
      const [chain, branches] = await Promise.all([before(run, signal), later(run, signal)]);
      return { chain, branches };
    },
    [run.id, run.last_checkpoint, epoch.value],
  );
  if (!found) return null;
  const { chain, branches } = found;
  const base = run.base_model ?? run.model;
  return html`<nav class="lineage" aria-label="Where it comes from">
    <ol>
      <li><a href="#/models" title="The model that it all began with">${base}</a></li>
      ${chain.map((one) =>
        one === null
          ? html`<li class="muted">a run that is deleted</li>`
          : html`<li key=${one.run.id}>
            <a href=${href(['runs', one.run.id])}>${one.run.name}</a>
            <small class="muted">step ${one.step}</small>
          </li>`,
      )}
      <li aria-current="page"><b>${run.name}</b></li>
      ${
        branches.length > 0 &&
        html`<li class="branches">
          <ul aria-label="Runs that started from it">
            ${branches.flatMap(({ checkpoint, runs }) =>
              runs.map(
                (one) => html`<li key=${one.id}>
                  <small class="muted">step ${checkpoint.step}</small>
                  <a href=${href(['runs', one.id])}>${one.name}</a>
                  <${Badge} state=${one.state} />
                </li>`,
              ),
            )}
          </ul>
        </li>`
      }
    </ol>
  </nav>`;
}
