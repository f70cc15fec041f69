// Checkpoints of a run, or of all.
import { html, useEffect } from '../lib/html.js';
import { can, list, post, send } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { ago, bytes, moment, percent, shortId } from '../lib/format.js';
import { href } from '../lib/router.js';
import { attempt, confirm, sayCopied } from './ask.js';
import { Empty, Failure, Loading, useLoad, useNow } from './common.js';
import { Icon } from './icon.js';

export function Checkpoints({ runId }) {
  const now = useNow(5000);
  const [found, error, again] = useLoad((signal) => list(`/v1/checkpoints${runId ? `?run=${runId}` : ''}`, 2000, { signal }), [runId, epoch.value]);
  useEffect(() => listen(({ kind, run_id: run }) => { if (kind.startsWith('checkpoint') && (!runId || run === runId)) again(); }), [runId]);
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading checkpoints" height=${220} />`;
  if (found.length === 0) return html`<${Empty} icon="star" title="No checkpoints yet"><p>A run writes one every <code>checkpoint_every</code> steps, and one at its end.</p></${Empty}>`;
  const all = [...found].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  const best = Math.max(...all.map((c) => c.accuracy ?? -1));
  return html`<div class="card scroll"><table><thead><tr><th scope="col">Checkpoint</th><th scope="col" class="num">Step</th><th scope="col" class="num">Held-out accuracy</th>
      <th scope="col" class="num">Size</th><th scope="col">Written</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
    <tbody>${all.map((one) => html`<tr key=${one.id}>
      <th scope="row"><button class="icon" aria-label=${`Copy the id ${one.id}`} title=${one.id} onClick=${() => sayCopied(one.id, 'The id')}><${Icon} name="copy" /></button>
        <code>${shortId(one.id)}</code> ${runId && one.accuracy === best && best >= 0 ? html`<span class="badge plain right">best</span>` : ''}${one.last ? html` <span class="badge plain">last</span>` : ''}
        ${one.promoted_as && html` <span class="badge plain running">served as ${one.promoted_as}</span>`}
        ${!runId && html`<small class="block"><a href=${href(['runs', one.run_id, 'checkpoints'])}>${shortId(one.run_id)}</a></small>`}</th>
      <td class="num">${one.step}</td><td class="num">${percent(one.accuracy ?? NaN)}</td><td class="num">${bytes(one.manifest.size_bytes)}</td>
      <td><time datetime=${one.created_at} title=${moment(one.created_at)}>${ago(one.created_at, now)}</time></td>
      <td><${Actions} one=${one} again=${again} /></td></tr>`)}</tbody></table></div>`;
}

function Actions({ one, again }) {
  const promote = async () => {
    const name = window.prompt('Serve this checkpoint under which model name?', one.promoted_as || 'my-model');
    if (name && await attempt(() => post(`/v1/checkpoints/${one.id}/promote`, { name }), `Served as ${name}`)) again();
  };
  const remove = async () => {
    const sure = await confirm({ title: 'Delete this checkpoint?', text: `The weights of step ${one.step} are gone for good. Metrics and samples stay.`, yes: 'Delete it', danger: true });
    if (sure && await attempt(() => send('DELETE', `/v1/checkpoints/${one.id}`), 'Deleted')) again();
  };
  return html`<div class="row right"><a class="button small" href=${href(['playground'], { model: one.id })}><${Icon} name="eye" />Try</a>
    ${can('get', '/v1/checkpoints/{id}/download') && html`<a class="button small" href=${`/v1/checkpoints/${one.id}/download`} download><${Icon} name="download" />Download</a>`}
    ${can('post', '/v1/checkpoints/{id}/promote') && html`<button class="small" onClick=${promote}><${Icon} name="star" />Serve as …</button>`}
    ${can('delete', '/v1/checkpoints/{id}') && html`<button class="small danger" onClick=${remove}><${Icon} name="trash" />Delete</button>`}</div>`;
}
