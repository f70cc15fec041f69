// Sweeps: the list, and one of them with its groups.
import { html, useEffect } from '../lib/html.js';
import { list } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { ago, moment } from '../lib/format.js';
import { href } from '../lib/router.js';
import { show } from '../lib/settings.js';
import { Empty, Failure, Loading, useLoad, useNow } from '../parts/common.js';
import { Sweep } from './sweep.js';

/** @param {PageProps} props */
export default function Sweeps({ parts, query }) {
  const [, id] = parts;
  return id ? html`<${Sweep} key=${id} id=${id} query=${query} />` : html`<${All} />`;
}

function All() {
  const now = useNow(5000);
  const [found, error, again] = useLoad((signal) => list('/v1/sweeps', { most: 500, signal }), [epoch.value]);
  useEffect(() => {
    document.title = 'Sweeps · VGPO';
    return listen(({ kind }) => {
      if (kind === 'job') again();
    });
  }, []);
  if (error && !found) return html`<${Failure} error=${error} again=${again} />`;
  if (!found) return html`<${Loading} what="Reading sweeps" height=${220} />`;
  return html`
    <nav class="crumbs" aria-label="Where you are"><a href="#/runs">Runs</a> / Sweeps</nav>
    <div class="head"><h1 class="grow">Sweeps</h1></div>
    ${
      found.length === 0
        ? html`<${Empty} icon="play" title="No sweeps yet">
          <p>
            One job over several values of its settings: “vary” in <a href="#/new">New job</a>, or
            <code>vgpo sweeps submit</code>.
          </p>
        </${Empty}>`
        : html`<div class="card scroll" tabindex=${0}>
          <table>
            <thead>
              <tr>
                <th scope="col">Sweep</th>
                <th scope="col">Varied</th>
                <th scope="col">Runs</th>
                <th scope="col">Submitted</th>
              </tr>
            </thead>
            <tbody>
              ${found.map(
                (one) => html`<tr key=${one.id}>
                  <th scope="row"><a href=${href(['sweeps', one.id])}>${one.name}</a></th>
                  <td>
                    ${Object.entries(one.grid).map(
                      ([pointer, values]) => html`<small class="block" key=${pointer}>
                        <code>${pointer.slice(1)}</code>${' '}${/** @type {unknown[]} */ (values).map(show).join(', ')}
                      </small>`,
                    )}
                  </td>
                  <td>${Object.entries(one.states)
                    .map(([state, count]) => `${count} ${state}`)
                    .join(', ')}</td>
                  <td>
                    <time datetime=${one.created_at} title=${moment(one.created_at)}>${ago(one.created_at, now)}</time>
                  </td>
                </tr>`,
              )}
            </tbody>
          </table>
        </div>`
    }
  `;
}
