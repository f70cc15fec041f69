// What can be done with all chosen runs at once, with one question that names how many.
import { html, useState } from '../lib/html.js';
import { asError, patch, post, remove } from '../lib/api.js';
import { forget, isFinal, renew } from '../lib/runs.js';
import { refusal } from '../lib/session.js';
import { tagOf } from '../lib/tags.js';
import { askFor, confirm, say } from '../parts/ask.js';
import { Icon } from '../parts/icon.js';
import { counted } from './runs_rows.js';

/** @typedef {Api['RunEntry']} Run */

/** Names that a question lists. */
const NAMED = 5;

/** @param {Run[]} runs */
function namesOf(runs) {
  const names = runs.slice(0, NAMED).map(({ name }) => `“${name}”`);
  return runs.length > NAMED ? `${names.join(', ')} and ${runs.length - NAMED} more` : names.join(', ');
}

/**
 * @param {Run} run
 * @param {string} tag
 */
async function label(run, tag) {
  const [name, value] = tagOf(tag);
  renew(await patch('/v1/runs/{id}', { tags: { ...run.tags, [name]: value } }, { path: { id: run.id } }));
}

/** @param {{ runs: Run[], clear: () => void }} props */
export function Chosen({ runs, clear }) {
  const [busy, setBusy] = useState(/** @type {string | null} */ (null));
  if (runs.length === 0) return null;
  const mine = runs.filter(({ project }) => refusal('user', project) === null);
  const active = mine.filter(({ state }) => !isFinal(state) && state !== 'cancelling');
  const ended = mine.filter(({ state }) => isFinal(state));
  /**
   * @param {Run[]} some
   * @param {string} doing
   * @param {string} done
   * @param {(run: Run) => Promise<unknown>} act
   */
  const each = async (some, doing, done, act) => {
    /** @type {string[]} */
    const refused = [];
    for (const [i, run] of some.entries()) {
      setBusy(`${doing} ${i + 1} of ${some.length} …`);
      try {
        await act(run);
      } catch (error) {
        refused.push(`“${run.name}”: ${asError(error).message}`);
      }
    }
    setBusy(null);
    if (refused.length < some.length) say(`${counted(some.length - refused.length)} ${done}`);
    if (refused.length > 0) say(`${refused.length} could not be: ${refused.slice(0, NAMED).join(' · ')}`, true);
  };
  /** @param {Run[]} some */
  const left = (some) =>
    some.length < runs.length ? ` The other ${runs.length - some.length} of those chosen are left alone.` : '';
  const tag = async () => {
    const word = await askFor({
      title: `Tag ${counted(mine.length)}`,
      text: `${namesOf(mine)}. A tag of the same name is replaced.${left(mine)}`,
      label: 'Tag, as name or name: value',
      yes: `Tag ${counted(mine.length)}`,
    });
    if (word) await each(mine, 'Tagging', 'tagged', (run) => label(run, word));
  };
  const cancel = async () => {
    const sure = await confirm({
      title: `Cancel ${counted(active.length)}?`,
      text: `${namesOf(active)}. They stop after their current phase; you can retry them later.${left(active)}`,
      yes: `Cancel ${counted(active.length)}`,
      no: 'Keep them running',
      danger: true,
    });
    const stop = (/** @type {Run} */ run) => post('/v1/jobs/{id}/cancel', undefined, { path: { id: run.job_id } });
    if (sure) await each(active, 'Cancelling', 'cancelled', stop);
  };
  const drop = async () => {
    const sure = await confirm({
      title: `Delete ${counted(ended.length)}?`,
      text: `${namesOf(ended)}. Their curves, samples and checkpoints will be permanently deleted.${left(ended)}`,
      yes: `Delete ${counted(ended.length)}`,
      danger: true,
    });
    if (!sure) return;
    await each(ended, 'Deleting', 'deleted', async (run) => {
      await remove('/v1/runs/{id}', { path: { id: run.id } });
      forget(run.id);
    });
  };
  return html`<div class="chosen-runs row" role="group" aria-label="Chosen runs">
    <b class="grow">${busy ?? `${counted(runs.length)} chosen`}</b>
    ${
      mine.length > 0 &&
      html`
        <button disabled=${busy !== null} onClick=${tag}>Tag ${mine.length} …</button>
        ${
          active.length > 0 &&
          html`<button class="danger" disabled=${busy !== null} onClick=${cancel}>
            <${Icon} name="stop" />Cancel ${active.length} …
          </button>`
        }
        ${
          ended.length > 0 &&
          html`<button class="danger" disabled=${busy !== null} onClick=${drop}>
            <${Icon} name="trash" />Delete ${ended.length} …
          </button>`
        }
      `
    }
    <button onClick=${clear}>Clear selection</button>
  </div>`;
}
