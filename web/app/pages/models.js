// Models that can be trained and asked, and every checkpoint.
import { html, useEffect } from '../lib/html.js';
import { can, get, send } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { count } from '../lib/format.js';
import { href } from '../lib/router.js';
import { attempt, confirm } from '../parts/ask.js';
import { Empty, Failure, Loading, useLoad } from '../parts/common.js';
import { Checkpoints } from '../parts/checkpoints.js';
import { Icon } from '../parts/icon.js';

export default function Models() {
  const [found, error, again] = useLoad(async (signal) => (await get('/v1/models', { signal })).data, [epoch.value]);
  useEffect(() => { document.title = 'Models · VGPO'; }, []);
  return html`<div class="head"><h1 class="grow">Models</h1></div>
    ${error && !found ? html`<${Failure} error=${error} again=${again} />` : !found ? html`<${Loading} what="Reading models" height=${200} />`
      : found.length === 0 ? html`<${Empty} icon="star" title="No models yet"><p>Register a folder in Hugging Face layout.</p></${Empty}>`
      : html`<ul class="cards">${found.map((model) => html`<${Card} key=${model.id} model=${model} again=${again} />`)}</ul>`}
    <section class="section" aria-label="Checkpoints"><div class="title"><h2>Checkpoints</h2><p class="muted">Of all runs, newest first.</p></div><${Checkpoints} /></section>`;
}

function Card({ model, again }) {
  const { card = {} } = model;
  const remove = async () => {
    const sure = await confirm({ title: `Take “${model.id}” off the list?`, text: 'Jobs and requests can no longer name it.', yes: 'Take it off', danger: true });
    if (sure && await attempt(() => send('DELETE', `/v1/models/${model.id}`), 'Taken off')) again();
  };
  return html`<li class="card"><div class="row"><h2 class="grow">${card.title || model.id}</h2><span class="tag">${model.family}</span></div>
    ${card.task && html`<p>${card.task}</p>`}${card.limits && html`<p class="muted small-text">${card.limits}</p>`}
    <dl class="kv"><dt>Name</dt><dd><code>${model.id}</code></dd><dt>Parameters</dt><dd>${count(model.parameters)}</dd><dt>From</dt><dd>${model.source}</dd>${card.license && html`<dt>Licence</dt><dd>${card.license}</dd>`}</dl>
    <div class="row"><a class="button small" href=${href(['playground'], { model: model.id })}><${Icon} name="eye" />Ask it</a>
      <a class="button small" href=${href(['new'], { model: model.id })}><${Icon} name="plus" />Train it</a>
      ${model.source !== 'builtin' && can('delete', '/v1/models/{*id}') && html`<button class="small danger" onClick=${remove}><${Icon} name="trash" />Take off</button>`}</div></li>`;
}
