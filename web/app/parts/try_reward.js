// Try a reward on a response before a job spends hours on it.
import { html, useEffect, useState } from '../lib/html.js';
import { asError, get, post } from '../lib/api.js';
import { number } from '../lib/format.js';
import { Badge, Field } from './common.js';

/** @typedef {{ judged?: Api['EvaluatedRewards']['data'][number], error?: Error }} Verdict */

/** @param {{ reward: Api['RewardSpec'], dataset: string }} props */
export function TryReward({ reward, dataset }) {
  const [response, setResponse] = useState('');
  const [truth, setTruth] = useState('');
  const [images, setImages] = useState(/** @type {string[]} */ ([]));
  const [verdict, setVerdict] = useState(/** @type {Verdict | null} */ (null));
  useEffect(() => {
    // A worked example of the data set, where it has one.
    if (!dataset) return undefined;
    let stale = false;
    get('/v1/datasets/{id}/rows', { path: { id: dataset }, query: { limit: 1, images: 'full' } }).then(
      ({ data: [row] }) => {
        if (stale || !row) return;
        setResponse(row.demonstration || `\\boxed{${row.answer}}`);
        setTruth(row.answer);
        setImages(row.images.flatMap(({ picture }) => picture ?? []));
      },
      () => {
        /* the box stays empty */
      },
    );
    return () => {
      stale = true;
    };
  }, [dataset]);
  // Only a reward that looks at images is sent them.
  const looks = JSON.stringify(reward).includes('"image_text"');
  useEffect(() => {
    if (!response || !truth) {
      setVerdict(null);
      return undefined;
    }
    let stale = false;
    const timer = setTimeout(() => {
      post('/v1/rewards/evaluate', {
        reward,
        items: [{ response, ground_truth: truth, images: looks ? images : [] }],
      }).then(
        ({ data: [judged] }) => {
          if (!stale) setVerdict({ judged });
        },
        (error) => {
          if (!stale) setVerdict({ error: asError(error) });
        },
      );
    }, 350);
    return () => {
      stale = true;
      clearTimeout(timer);
    };
  }, [JSON.stringify(reward), response, truth, images]);
  const { judged, error } = verdict ?? {};
  return html`<details class="try-reward" open>
    <summary>Try it</summary>
    <div class="fields wide">
      <${Field} label="A response">
        ${(/** @type {FieldAttributes} */ a) => html`<textarea
          ...${a}
          class="mono"
          rows=${2}
          value=${response}
          onInput=${(e) => setResponse(e.currentTarget.value)}
        ></textarea>`}
      </${Field}>
      <${Field} label="Ground truth">
        ${(/** @type {FieldAttributes} */ a) =>
          html`<input ...${a} class="mono" value=${truth} onInput=${(e) => setTruth(e.currentTarget.value)} />`}
      </${Field}>
    </div>
    <p class="row" role="status">
      ${
        error
          ? html`<span class="wrong">${error.message}</span>`
          : judged === null
            ? html`<span class="muted">no verdict</span>`
            : judged &&
              html`
                ${
                  typeof judged.accuracy === 'number' &&
                  html`<${Badge} state=${judged.accuracy > 0.5 ? 'right' : 'wrong'} />`
                }reward${' '}
                <b>${number(judged.reward)}</b>
                ${
                  Object.keys(judged.parts).length > 1 &&
                  html`<span class="muted">
                    ${Object.entries(judged.parts)
                      .map(([k, v]) => `${k} ${number(v)}`)
                      .join(', ')}
                  </span>`
                }
                ${
                  typeof judged.extracted === 'string' &&
                  html`<span class="muted">answer found: <b class="mono">${judged.extracted.trim()}</b></span>`
                }
              `
      }
    </p>
  </details>`;
}
