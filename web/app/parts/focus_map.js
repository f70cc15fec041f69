// Focus over the response: where in its answers a model looks, over the training.
import { html, useEffect, useMemo, useRef, useState } from '../lib/html.js';
import { get, list } from '../lib/api.js';
import { penOf } from '../lib/canvas.js';
import { epoch, listen } from '../lib/live.js';
import { number } from '../lib/format.js';
import { rgb, series as colourOf } from '../lib/colour.js';
import { Chart } from './chart.js';
import { Empty, Failure, Loading, useLoad } from './common.js';
import { Scale } from './scale.js';

/**
 * Mean focus by position at one step: of all answers, of right and of wrong ones.
 * @typedef {{ step: number, held: boolean, all: Numbers, right: Numbers, wrong: Numbers, count: number }} Profiled
 */

const BINS = 16;
const MOST_STEPS = 24;
const MOST_GROUPS = 16;

/**
 * Evenly chosen entries of a long list, first and last among them.
 * @template T
 * @param {T[]} all
 * @param {number} most
 */
function thin(all, most) {
  if (all.length <= most) return all;
  return Array.from({ length: most }, (_, i) => all[Math.round((i * (all.length - 1)) / (most - 1))]);
}

/**
 * Sums of focus by position; tokens fall into bins by their share of the response.
 * @param {Api['SampleResponse'][]} responses
 * @returns {Numbers}
 */
function profile(responses) {
  const sum = new Float64Array(BINS),
    count = new Float64Array(BINS);
  for (const { focus } of responses) {
    focus?.forEach((value, t) => {
      const bin = Math.min(BINS - 1, Math.floor(((t + 0.5) / focus.length) * BINS));
      sum[bin] += value;
      count[bin] += 1;
    });
  }
  return Array.from(sum, (value, bin) => (count[bin] ? value / count[bin] : null));
}

/**
 * Every row of the evaluations that kept them: many more answers than are logged with every token.
 * @param {Api['Run']} run
 * @param {Map<number, Profiled>} known what was read before, by step
 * @param {AbortSignal} signal
 * @returns {Promise<Profiled[]>}
 */
async function readEvaluations(run, known, signal) {
  const path = { id: run.id };
  const newest = await get('/v1/runs/{id}/eval-rows/summary', { path, signal });
  const steps = newest.focus_along ? thin(newest.steps, MOST_STEPS) : [];
  for (const step of steps.filter((one) => !known.has(one))) {
    const one = await get('/v1/runs/{id}/eval-rows/summary', { path, query: { step }, signal });
    const { focus_along: along, rows } = one;
    /** @param {(number | null | undefined)[]} values */
    const filled = (values) => values.map((value) => value ?? null);
    if (along)
      known.set(step, {
        step,
        held: true,
        all: filled(along.all),
        right: filled(along.right),
        wrong: filled(along.wrong),
        count: rows,
      });
  }
  return steps.flatMap((step) => known.get(step) ?? []);
}

/**
 * @param {Api['Run']} run
 * @param {Map<number, Profiled>} known
 * @param {AbortSignal} signal
 * @returns {Promise<Profiled[]>}
 */
async function read(run, known, signal) {
  const evaluations = await readEvaluations(run, known, signal);
  if (evaluations.length > 0) return evaluations;
  const path = { id: run.id };
  const steps = (await get('/v1/runs/{id}/samples/steps', { path, signal })).data.map((entry) => entry.step);
  /** @param {number} step */
  const readStep = async (step) => {
    const records = await list('/v1/runs/{id}/samples', { path, query: { step }, most: MOST_GROUPS, signal });
    // Held-out answers where there are any: the same rows at every step.
    const evals = records.filter((record) => record.group.eval);
    const responses = (evals.length > 0 ? evals : records).flatMap((record) => record.group.responses);
    return {
      step,
      held: evals.length > 0,
      all: profile(responses),
      right: profile(responses.filter((r) => r.correct)),
      wrong: profile(responses.filter((r) => r.correct === false)),
      count: responses.length,
    };
  };
  const found = [];
  for (const step of thin(steps, MOST_STEPS)) found.push(await readStep(step));
  const evaluated = found.filter((entry) => entry.held);
  return (evaluated.length > 1 ? evaluated : found).filter((entry) => entry.all.some((v) => v !== null));
}

/** @param {{ run: Api['Run'] }} props */
export function FocusMap({ run }) {
  const [news, setNews] = useState(0);
  const known = useMemo(() => /** @type {Map<number, Profiled>} */ (new Map()), [run.id]);
  const [rows, error, again] = useLoad((signal) => read(run, known, signal), [run.id, news, epoch.value]);
  const [picked, setPicked] = useState(/** @type {number | null} */ (null));
  useEffect(() => {
    /** @type {number | undefined} */
    let timer;
    const stop = listen((event) => {
      if (event.run_id !== run.id || !['samples', 'rewind'].includes(event.kind)) return;
      if (event.kind === 'rewind') known.clear();
      clearTimeout(timer);
      timer = setTimeout(() => setNews((n) => n + 1), 1500);
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [run.id]);
  if (error && !rows) return html`<div class="card"><${Failure} error=${error} again=${again} /></div>`;
  if (!rows) return html`<div class="card"><${Loading} what="Reading samples" height=${240} /></div>`;
  if (rows.length === 0)
    return html`<div class="card">
      <${Empty} title="No samples with images yet">
        <p>Samples are logged every few steps; they show where the model looks along its answers.</p>
      </${Empty}>
    </div>`;
  const chosen = rows.find((row) => row.step === picked) ?? rows[rows.length - 1];
  return html`<div class="card focus-map" style=${{ marginBottom: '16px' }}>
    <div class="focus-pair">
      <${HeatRows} rows=${rows} chosen=${chosen} pick=${setPicked} />
      <${Profile} row=${chosen} first=${rows[0]} />
    </div>
  </div>`;
}

/** @param {{ rows: Profiled[], chosen: Profiled, pick: (step: number) => void }} props */
function HeatRows({ rows, chosen, pick }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const values = rows.flatMap((row) => row.all.flatMap((value) => value ?? []));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  useEffect(() => {
    if (!canvas.current) return;
    const pen = penOf(canvas.current);
    rows.forEach((row, y) =>
      row.all.forEach((value, x) => {
        pen.fillStyle =
          value === null
            ? 'rgb(128 128 128 / 20%)'
            : `rgb(${rgb('viridis', (value - low) / (high - low || 1)).join(' ')})`;
        pen.fillRect(x, y, 1, 1);
      }),
    );
  }, [rows]);
  /** @param {number} index */
  const pickAt = (index) => pick(rows[Math.min(rows.length - 1, Math.max(0, index))].step);
  /** @param {KeyboardEvent} event */
  const move = (event) => {
    if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return;
    event.preventDefault();
    pickAt(rows.indexOf(chosen) + (event.key === 'ArrowUp' ? -1 : 1));
  };
  /** @param {MouseEvent & { currentTarget: HTMLCanvasElement }} event */
  const onClick = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    pickAt(Math.floor(((event.clientY - box.top) / box.height) * rows.length));
  };
  return html`<div>
    <h3>Focus along the answer</h3>
    <p class="muted small-text">
      ${chosen.held ? 'Held-out answers' : 'Sampled answers'}; each row is a step of the run, left is the
      beginning of the answer.
    </p>
    <div class="heat-rows">
      <div class="steps" aria-hidden="true">
        ${rows.map((row) => html`<span class=${row === chosen ? 'on' : ''}>${row.step}</span>`)}
      </div>
      <canvas
        ref=${canvas}
        width=${BINS}
        height=${rows.length}
        tabindex=${0}
        role="slider"
        aria-orientation="vertical"
        aria-label="Step whose focus is shown"
        aria-valuemin=${rows[0].step}
        aria-valuemax=${rows[rows.length - 1].step}
        aria-valuenow=${chosen.step}
        onKeyDown=${move}
        onClick=${onClick}
        style=${{ height: `${Math.max(140, Math.min(260, rows.length * 22))}px` }}
      ></canvas>
    </div>
    <div class="ends small-text muted"><span>beginning</span><span>end</span></div>
    <${Scale} map="viridis" low=${number(low)} high=${number(high)} label="focus" />
  </div>`;
}

/** @param {{ row: Profiled, first: Profiled }} props */
function Profile({ row, first }) {
  const x = Array.from({ length: BINS }, (_, i) => (i + 0.5) / BINS);
  const series = useMemo(
    () =>
      [
        { label: `step ${row.step}, right answers`, colour: colourOf(2), x, y: row.right },
        { label: `step ${row.step}, wrong answers`, colour: colourOf(6), x, y: row.wrong },
        ...(first === row
          ? []
          : [{ label: `step ${first.step}, all`, colour: colourOf(7), dash: [4, 4], x, y: first.all }]),
      ].filter((one) => one.y.some((v) => v !== null)),
    [row, first],
  );
  return html`<${Chart}
    title=${`Right and wrong answers at step ${row.step}`}
    note=${`Mean focus by position; ${row.count} answers.`}
    series=${series}
    kind="progress"
    height=${210}
  />`;
}
