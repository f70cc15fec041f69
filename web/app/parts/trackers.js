// Which trackers a run reports to, and what went wrong there.
import { html } from '../lib/html.js';
import { can, get } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { useLoad, useNow } from './common.js';

const NAMES = { mlflow: 'MLflow', trackio: 'trackio' };
/** Time between two looks, in milliseconds. */
const LOOK = 10_000;

/** @param {Api['Tracking']} tracking */
const state = ({ remote_id, next_at }) =>
  remote_id === null ? 'not begun yet' : next_at === null ? 'all of it' : 'up to now';

/** @param {{ id: string, kinds: Api['TrackerKind'][] }} props */
export function RunTrackers({ id, kinds }) {
  const now = useNow(LOOK);
  const asked = kinds.length > 0 && can('get', '/v1/runs/{id}/trackers');
  const [found] = useLoad(
    async (signal) => (asked ? (await get('/v1/runs/{id}/trackers', { path: { id }, signal })).data : []),
    [id, asked, epoch.value, Math.floor(now / LOOK)],
  );
  const all = found ?? [];
  const well = all.filter((one) => one.problem === null);
  return html`
    ${all
      .filter((one) => one.problem !== null)
      .map(
        (one) => html`<p class="notice warn" key=${one.tracker}>
          <strong>${NAMES[one.tracker]}</strong> did not take the run: ${one.problem}
          <span class="muted"> (${one.next_at === null ? 'given up' : `tried ${one.tries} times, and again`})</span>
        </p>`,
      )}
    ${
      well.length > 0 &&
      html`<p class="muted">Reported to ${well.map((one) => `${NAMES[one.tracker]} (${state(one)})`).join(', ')}</p>`
    }
  `;
}
