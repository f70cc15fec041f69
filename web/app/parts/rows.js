// A look at the rows of a data set.
import { html, useEffect, useState } from '../lib/html.js';
import { get } from '../lib/api.js';
import { Failure, Loading, Segmented, useLoad } from './common.js';
import { Icon } from './icon.js';

/** @param {{ dataset: string, small?: boolean }} props */
export function Rows({ dataset, small }) {
  const [split, setSplit] = useState(/** @type {'train' | 'eval'} */ ('train'));
  const [offset, setOffset] = useState(0);
  const size = small ? 6 : 12;
  useEffect(() => setOffset(0), [dataset]);
  const [page, error, again] = useLoad(
    (signal) =>
      get('/v1/datasets/{id}/rows', { path: { id: dataset }, query: { split, limit: size, after: offset }, signal }),
    [dataset, split, offset],
  );
  return html`<section class="rows" aria-label=${`Rows of ${dataset}`}>
    <div class="row between">
      <${Segmented}
        label="Part"
        value=${split}
        onChange=${(v) => {
          setSplit(v);
          setOffset(0);
        }}
        options=${[
          ['train', 'Training rows'],
          ['eval', 'Held-out rows'],
        ]}
      />
      <span class="row">
        <button
          type="button"
          class="icon"
          aria-label="Rows before"
          disabled=${offset === 0}
          onClick=${() => setOffset(Math.max(0, offset - size))}
        >
          <${Icon} name="left" />
        </button>
        <span class="muted tabular small-text">from ${offset}</span>
        <button
          type="button"
          class="icon"
          aria-label="More rows"
          disabled=${!page?.has_more}
          onClick=${() => setOffset(offset + size)}
        >
          <${Icon} name="right" />
        </button>
      </span>
    </div>
    ${
      error && !page
        ? html`<${Failure} error=${error} again=${again} />`
        : !page
          ? html`<${Loading} what="Reading rows" height=${120} />`
          : page.data.length === 0
            ? html`<p class="empty">This part has no rows.</p>`
            : html`<ul class="row-cards">
              ${page.data.map(
                (row) => html`<li key=${row.row}>
                  ${
                    row.images[0] &&
                    html`<img
                      src=${row.images[0].thumbnail}
                      alt=""
                      title=${`${row.images[0].width} × ${row.images[0].height} pixels`}
                    />`
                  }
                  <div>
                    <p>${row.prompt}</p>
                    <small>
                      row ${row.row} · <b class="mono">${row.answer}</b>
                      ${row.images.length > 1 ? ` · ${row.images.length} images` : ''}
                    </small>
                  </div>
                </li>`,
              )}
            </ul>`
    }
  </section>`;
}
