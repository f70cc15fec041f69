// Whether a response of a sample depends on the image: asked for, because it reads the response many times.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { asError } from '../lib/api.js';
import { dependence } from '../lib/dependence.js';
import { scoreOf } from '../lib/maps.js';
import { Dependence, worstOf } from '../parts/dependence.js';

/**
 * @param {{ record: Api['SampleRecord'], index: number, model: string }} props
 */
export function ResponseDependence({ record, index, model }) {
  const [found, setFound] = useState(/** @type {import('../lib/dependence.js').Dependence | null} */ (null));
  const [error, setError] = useState(/** @type {Error | undefined} */ (undefined));
  const [asked, setAsked] = useState(false);
  const abort = useRef(/** @type {AbortController | null} */ (null));
  useEffect(() => () => abort.current?.abort(), []);
  const ask = async () => {
    const control = new AbortController();
    abort.current = control;
    setAsked(true);
    try {
      await dependence(scoreOf(record, index, model), setFound, control.signal);
    } catch (thrown) {
      if (!control.signal.aborted) setError(asError(thrown));
    }
  };
  return html`<section class="card evidence" aria-label=${`Does response ${index + 1} depend on the image?`}>
    <h3>Does response ${index + 1} depend on the image?</h3>
    ${
      asked
        ? html`<${Dependence} found=${found} error=${error} worst=${worstOf([found])} />`
        : html`<button class="small" onClick=${ask}>Hide the image, its most attended cells, and random ones</button>`
    }
  </section>`;
}
