// What a job would be and cost: the answer of a dry run.
import { html } from '../lib/html.js';
import { asError, faultsOf } from '../lib/api.js';
import { bytes, count, duration } from '../lib/format.js';
import { keysOf } from '../lib/settings.js';
import { jobsOf } from '../lib/vary.js';
import { pace } from '../lib/pace.js';
import { href } from '../lib/router.js';
import { series as colourOf } from '../lib/colour.js';
import { Failure, Loading, useLoad } from '../parts/common.js';
import { sweepFaults } from './new_job_checks.js';

/** @type {Record<string, string>} */
const NAMES = { kv_cache: 'KV cache' };

/**
 * Why it cannot start: what is wrong with single fields, else with the whole.
 * @param {{ title: string, error: unknown, faults: { pointer: string, detail: string }[] }} props
 */
const Refused = ({ title, error, faults }) => html`<div class="notice bad" role="alert">
  <b>${title}</b>
  <ul>
    ${
      faults.length > 0
        ? faults.map(
            ({ pointer, detail }) => html`<li key=${pointer + detail}><code>${pointer.slice(1)}</code>: ${detail}</li>`,
          )
        : html`<li>${asError(error).message}</li>`
    }
  </ul>
</div>`;

/** @param {{ warnings: Api['JobWarning'][] }} props */
const Warnings = ({ warnings }) =>
  warnings.map(
    (warning) => html`<p class="notice warn" key=${warning.pointer + warning.code}>
      <code>${warning.pointer.slice(1)}</code>: ${warning.detail}
    </p>`,
  );

/**
 * How many jobs a sweep makes, against what the server allows, and their work together. `known`: warnings that are
 * told elsewhere.
 * @param {{
 *   grid: import('../lib/vary.js').Grid, plan: import('./new_job_checks.js').PlannedSweep, known: Api['JobWarning'][],
 * }} props
 */
export function SweepSize({ grid, plan, known }) {
  const jobs = jobsOf(grid);
  const parts = Object.entries(grid).map(([pointer, values]) => `${keysOf(pointer).at(-1)} ${values.length}`);
  const { value } = plan;
  const told = new Set(known.map(({ code, pointer }) => code + pointer));
  return html`
    ${
      plan.error !== undefined &&
      html`<${Refused} title="This sweep cannot start yet" error=${plan.error} faults=${sweepFaults(plan.error)} />`
    }
    <section class="card" aria-label="The sweep">
      <h2>A sweep of ${count(jobs)} ${jobs === 1 ? 'job' : 'jobs'}</h2>
      <dl class="kv">
        <dt>Jobs</dt>
        <dd>
          ${parts.join(' × ')}
          ${value && html`<span class="muted block small-text">at most ${count(value.max_points)}</span>`}
        </dd>
        ${
          value?.points === jobs &&
          html`
            <dt>Together</dt>
            <dd>
              ${count(value.work.steps)} steps, ${count(value.work.responses)} responses for${' '}
              ${count(value.work.prompts)} prompts, ${count(value.work.max_response_tokens)} tokens written at most
            </dd>
          `
        }
      </dl>
    </section>
    <${Warnings} warnings=${(value?.warnings ?? []).filter(({ code, pointer }) => !told.has(code + pointer))} />
  `;
}

/**
 * `sweeps`: the plan is that of a sweep's first job.
 * @param {{ plan: import('./new_job_checks.js').Planned, sweeps: boolean }} props
 */
export function Plan({ plan, sweeps }) {
  const faults = faultsOf(plan.error);
  if (!plan.value && plan.error && faults.length === 0)
    return html`<div class="card"><${Failure} error=${plan.error} /></div>`;
  return html`
    ${
      plan.error !== undefined &&
      html`<${Refused}
        title=${sweeps ? 'Its first job cannot start yet' : 'This job cannot start yet'}
        error=${plan.error}
        faults=${faults}
      />`
    }
    ${!plan.value && !plan.error && html`<${Loading} what="Working out the job" height=${300} />`}
    ${
      plan.value &&
      html`
        <${Warnings} warnings=${plan.value.warnings} />
        ${sweeps && html`<p class="muted small-text">Below is the first of its jobs.</p>`}
        <div class="card">
          <h2>Work</h2>
          <dl class="kv">
            <dt>Steps</dt>
            <dd>
              ${count(plan.value.work.steps)}
              ${plan.value.work.updates > 0 && ` (${count(plan.value.work.updates)} updates)`}
            </dd>
            <dt>Responses</dt>
            <dd>${count(plan.value.work.responses)} for ${count(plan.value.work.prompts)} prompts</dd>
            <dt>Tokens</dt>
            <dd>
              ${count(plan.value.work.max_response_tokens)} written at most,${' '}
              ${count(plan.value.work.prompt_tokens)} of prompts
            </dd>
            <${Sampler} engine=${plan.value.spec.rollout.engine} />
            <${Time} plan=${plan.value} />
          </dl>
        </div>
        <${Memory} memory=${plan.value.memory} />
        <div class="card">
          <h2>First prompt</h2>
          <pre class="code wrap" tabindex=${0}>${plan.value.prompt.text}</pre>
          <p class="muted small-text" style=${{ marginTop: '8px' }}>
            ${plan.value.prompt.tokens} tokens, ${plan.value.prompt.image_tokens} of them for${' '}
            ${plan.value.prompt.images.length === 1 ? 'the image' : `${plan.value.prompt.images.length} images`}${' '}
            · ground truth <b class="mono">${plan.value.prompt.answer}</b>
          </p>
        </div>
      `
    }
  `;
}

/**
 * The servers that sample, where the job names some.
 * @param {{ engine: Api['EngineSpec'] }} props
 */
function Sampler({ engine }) {
  if (engine.type === 'local') return null;
  return html`
    <dt>Sampled by</dt>
    <dd>
      ${engine.type} at ${(engine.urls || []).join(', ')}
      <span class="muted block small-text">
        weights through ${engine.shared_dir} (${engine.sync}), at most ${count(engine.staleness)} steps old
      </span>
    </dd>
  `;
}

/**
 * Estimated memory as one bar.
 * @param {{ memory: Api['MemoryEstimate'] }} props
 */
function Memory({ memory }) {
  const all = memory.parts.reduce((sum, part) => sum + part.bytes, 0) || 1;
  return html`<div class="card">
    <h2>
      Memory${' '}
      <span class="muted">
        about ${bytes(memory.peak_bytes)} at its peak
        ${memory.limit_bytes ? `, of ${bytes(memory.limit_bytes)}` : ''}
      </span>
    </h2>
    <div
      class="memory"
      role="img"
      aria-label=${memory.parts.map((p) => `${NAMES[p.part] || p.part} ${bytes(p.bytes)}`).join(', ')}
    >
      ${memory.parts.map(
        (part, n) => html`<i
          key=${part.part}
          style=${{ width: `${(part.bytes / all) * 100}%`, background: colourOf(n) }}
        ></i>`,
      )}
    </div>
    <ul class="legend">
      ${memory.parts.map(
        (part, n) => html`<li key=${part.part}>
          <i style=${{ background: colourOf(n) }}></i>
          ${NAMES[part.part] || part.part} <b>${bytes(part.bytes)}</b>
        </li>`,
      )}
    </ul>
    <p class="muted small-text">
      An estimate from sizes, for the longest responses; KV cache and activations are not needed at the same
      time.
    </p>
  </div>`;
}

/**
 * An estimate from the newest run like it; nothing is made up where there is none.
 * @param {{ plan: Api['JobPlan'] }} props
 */
function Time({ plan }) {
  const { model, dataset, method, steps, batch, rollout } = plan.spec;
  const [found, error] = useLoad(
    (signal) => pace(plan, signal),
    [JSON.stringify([model, dataset, method.type, steps, batch, rollout])],
  );
  if (error || found === undefined) return null;
  return html`
    <dt>Time</dt>
    <dd>
      ${
        found === null
          ? html`<span class="muted">unknown before a first run of this model, data set and method</span>`
          : html`
            about ${duration(found.seconds)}${' '}
            <span class="muted block small-text">
              at the pace of <a href=${href(['runs', found.run.id])}>${found.run.name}</a>:${' '}
              ${duration(found.perStep)} a step of ${count(found.responses)} responses; evaluations come on top
            </span>
          `
      }
    </dd>
  `;
}
