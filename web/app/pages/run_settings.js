// The settings of a run, each with its origin.
import { html, useState } from '../lib/html.js';
import { flat, requested, show } from '../lib/settings.js';
import { Loading } from '../parts/common.js';
import { sayCopied } from '../parts/ask.js';
import { Icon } from '../parts/icon.js';

/** @param {{ job: Api['Job'] | undefined }} props */
export function Settings({ job }) {
  const [word, setWord] = useState('');
  const [given, setGiven] = useState(false);
  if (!job) return html`<${Loading} what="Reading the settings" height=${300} />`;
  const origins = /** @type {Record<string, string>} */ (job.origins);
  const rows = Object.entries(flat(job.spec)).filter(
    ([key]) => key.toLowerCase().includes(word.toLowerCase()) && (!given || origins[key] === 'request'),
  );
  return html`
    <div class="toolbar">
      <input
        type="search"
        class="grow"
        aria-label="Filter settings"
        placeholder="Filter, e.g. learning_rate"
        value=${word}
        onInput=${(e) => setWord(e.currentTarget.value)}
      />
      <label class="inline">
        <input type="checkbox" checked=${given} onChange=${(e) => setGiven(e.currentTarget.checked)} />
        only what the request named
      </label>
      <button
        onClick=${() => sayCopied(JSON.stringify(requested(job.spec, origins), null, 2), 'The request')}
      >
        <${Icon} name="copy" />
        Copy the request
      </button>
      <button onClick=${() => sayCopied(JSON.stringify(job.spec, null, 2), 'All settings')}>
        <${Icon} name="copy" />
        Copy all
      </button>
    </div>
    <div class="card scroll" tabindex=${0}>
      <table>
        <thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">From</th></tr></thead>
        <tbody>
          ${rows.map(
            ([key, value]) => html`<tr key=${key}>
              <th scope="row"><code>${key.slice(1)}</code></th>
              <td class="mono">${show(value)}</td>
              <td><span class=${`tag origin-${origins[key] || 'default'}`}>${origins[key] || ''}</span></td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  `;
}
