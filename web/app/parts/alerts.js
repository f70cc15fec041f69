// What the rules of a run's job found, and whether its webhook took it.
import { html, useEffect } from '../lib/html.js';
import { can, get } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { ago, moment } from '../lib/format.js';
import { useLoad, useNow } from './common.js';

/** Alerts of a run that are shown. */
const MOST = 5;

/** @param {Api['Alert']} alert */
const way = ({ delivery, problem, tries }) =>
  delivery === 'failed'
    ? `not delivered: ${problem}`
    : delivery === 'pending' && tries > 0
      ? `not delivered yet: ${problem ?? 'it is being sent'}`
      : '';

/** @param {{ id: string, said: string | null | undefined }} props `said`: what the page tells of the job already. */
export function RunAlerts({ id, said }) {
  const now = useNow(5000);
  const [found, , again] = useLoad(
    async (signal) =>
      can('get', '/v1/runs/{id}/alerts')
        ? (await get('/v1/runs/{id}/alerts', { path: { id }, query: { limit: MOST }, signal })).data
        : [],
    [id, epoch.value],
  );
  useEffect(
    () =>
      listen((event) => {
        if (event.run_id === id && event.kind.includes('alert')) again();
      }),
    [id],
  );
  // The state of the job tells that it has ended, and its reason why.
  const shown = (found ?? []).filter(
    ({ rule, message, delivery }) =>
      delivery === 'failed' ||
      !(['finished', 'failed'].includes(rule) || (said && said.includes(message.replace(/…$/, '')))),
  );
  return shown.map(
    (alert) => html`<p class=${`notice ${alert.severity === 'error' ? 'bad' : 'warn'}`} key=${alert.id}>
      <strong>${alert.rule.replaceAll('_', ' ')}</strong>: ${alert.message}${' '}
      <time class="muted" datetime=${alert.time} title=${moment(alert.time)}>${ago(alert.time, now)}</time>
      ${way(alert) && html`<span class="muted"> (${way(alert)})</span>`}
    </p>`,
  );
}
