// Samples: what the model wrote at a step, token by token, and how one prompt fares over the run.
import { html, useEffect, useMemo, useState } from '../lib/html.js';
import { get, list } from '../lib/api.js';
import { epoch, listen } from '../lib/live.js';
import { setQuery } from '../lib/router.js';
import { Empty, Failure, Loading, Segmented, useLoad } from '../parts/common.js';
import { Group } from './run_group.js';
import { dataUrl, question } from '../lib/maps.js';
import { Icon } from '../parts/icon.js';

/** Groups of one step that are read. */
const MOST = 64;

/** @param {Api['SampleRecord']} record */
const keyOf = (record) => `${record.group.eval ? 'e' : 't'}${record.group.row}`;
/**
 * What the verdicts say of a group; nothing where the reward says nothing about answers.
 * @param {Api['SampleGroup']} group
 */
function told({ responses }) {
  const judged = responses.filter((r) => typeof r.correct === 'boolean');
  if (!judged.length) return `${responses.length} ${responses.length === 1 ? 'response' : 'responses'}`;
  if (judged.length === 1) return judged[0].correct ? 'right' : 'wrong';
  return `${judged.filter((r) => r.correct).length}/${judged.length} right`;
}

/** @param {{ run: Api['RunEntry'], query: PageProps['query'] }} props */
export function Samples({ run, query }) {
  const [news, setNews] = useState(0);
  const [steps, error, again] = useLoad(
    async (signal) => (await get('/v1/runs/{id}/samples/steps', { path: { id: run.id }, signal })).data,
    [run.id, news, epoch.value],
  );
  useEffect(
    () =>
      listen((event) => {
        if (event.run_id === run.id && ['samples', 'rewind'].includes(event.kind)) setNews((n) => n + 1);
      }),
    [run.id],
  );
  if (error && !steps) return html`<${Failure} error=${error} again=${again} />`;
  if (!steps) return html`<${Loading} what="Reading samples" height=${300} />`;
  if (steps.length === 0)
    return html`<${Empty} title="No samples yet">
      <p>A run keeps samples every <code>log_samples_every</code> steps.</p>
    </${Empty}>`;
  const wanted = Number(query.step ?? NaN);
  const index = Math.max(
    0,
    Number.isNaN(wanted) ? steps.length - 1 : steps.findIndex((entry) => entry.step === wanted),
  );
  return html`
    <${StepSlider} steps=${steps} index=${index} />
    <${Step} run=${run} step=${steps[index].step} query=${query} />
  `;
}

/** @param {{ steps: Api['SampleStep'][], index: number }} props */
function StepSlider({ steps, index }) {
  /** @param {number} next */
  const to = (next) => setQuery({ step: steps[Math.min(steps.length - 1, Math.max(0, next))].step });
  const step = steps[index].step;
  return html`<div class="card step-slider">
    <button class="icon" aria-label="Step before" disabled=${index === 0} onClick=${() => to(index - 1)}>
      <${Icon} name="left" />
    </button>
    <label class="grow">
      <span class="sr">Step</span>
      <input
        type="range"
        min="0"
        max=${steps.length - 1}
        value=${index}
        aria-valuetext=${`step ${step}`}
        onInput=${(e) => to(Number(e.currentTarget.value))}
        list="sample-steps"
      />
    </label>
    <button
      class="icon"
      aria-label="Next step"
      disabled=${index === steps.length - 1}
      onClick=${() => to(index + 1)}
    >
      <${Icon} name="right" />
    </button>
    <b class="tabular">step ${step}</b>
  </div>`;
}

/** @param {{ run: Api['RunEntry'], step: number, query: PageProps['query'] }} props */
function Step({ run, step, query }) {
  const [read, error, again] = useLoad(
    async (signal) => ({
      step,
      records: await list('/v1/runs/{id}/samples', { path: { id: run.id }, query: { step }, most: MOST, signal }),
    }),
    [run.id, step],
  );
  const { kind = '', verdict = '', row } = query;
  const records = read?.records;
  const some = useMemo(
    () =>
      (records || []).filter(
        (record) =>
          (!kind || record.group.eval === (kind === 'eval')) &&
          (!verdict || record.group.responses.some((r) => r.correct === (verdict === 'right'))),
      ),
    [records, kind, verdict],
  );
  if (error && !records) return html`<${Failure} error=${error} again=${again} />`;
  if (!records) return html`<${Loading} what="Reading the step" height=${420} />`;
  const chosen =
    some.find((record) => keyOf(record) === row) ?? some.find((record) => record.group.images.length > 0) ?? some[0];
  const both = new Set(records.map((record) => record.group.eval)).size > 1;
  return html`
    <div class="toolbar">
      ${
        (both || kind) &&
        html`<${Segmented}
          label="Which samples"
          value=${kind}
          onChange=${(/** @type {string} */ value) => setQuery({ kind: value })}
          options=${[
            ['', 'All'],
            ['eval', 'Held-out'],
            ['train', 'Training'],
          ]}
        />`
      }
      <${Segmented}
        label="Right or wrong"
        value=${verdict}
        onChange=${(/** @type {string} */ value) => setQuery({ verdict: value })}
        options=${[
          ['', 'Right and wrong'],
          ['right', 'Right'],
          ['wrong', 'Wrong'],
        ]}
      />
      <span class="muted">${some.length} of ${records.length} prompts</span>
    </div>
    ${
      !chosen
        ? html`<${Empty} title="No sample fits">
          <button onClick=${() => setQuery({ kind: '', verdict: '' })}>Show all</button>
        </${Empty}>`
        : html`
          <${Thumbs} records=${some} chosen=${chosen} />
          <${Group} key=${keyOf(chosen)} run=${run} record=${chosen} query=${query} />
        `
    }
  `;
}

/** @param {{ records: Api['SampleRecord'][], chosen: Api['SampleRecord'] }} props */
const Thumbs = ({ records, chosen }) => html`<ul class="thumbs" aria-label="Prompts of this step">
  ${records.map(
    (record) => html`<li key=${record.id}>
      <button aria-pressed=${record === chosen} onClick=${() => setQuery({ row: keyOf(record), at: '' })}>
        ${
          record.group.images[0]
            ? html`<img src=${dataUrl(record.group.images[0])} alt="" />`
            : html`<${Icon} name="file" />`
        }
        <span>
          <b>${question(record.group.prompt)}</b>
          <small>
            ${record.group.eval ? 'held-out' : 'training'} row ${record.group.row} · ${told(record.group)}
          </small>
        </span>
      </button>
    </li>`,
  )}
</ul>`;
