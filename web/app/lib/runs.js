// Every run, kept up to date by the live stream; small series for the list, read when a row is seen.
import { signal } from './html.js';
import { get, list } from './api.js';
import { EFFORT, effort } from './effort.js';
import { epoch, listen } from './live.js';
import { headlines } from './metrics.js';

/** Newest first; null until the first answer. */
export const runs = signal(/** @type {Api['RunEntry'][] | null} */ (null));
/** Why the list could not be read. */
export const failure = signal(/** @type {unknown} */ (null));

/** @type {Set<Api['JobState']>} */
const FINAL = new Set(['succeeded', 'failed', 'cancelled']);
/** @param {Api['JobState']} state */
export const isFinal = (state) => FINAL.has(state);
/** @type {Api['JobState'][]} */
export const STATES = ['queued', 'running', 'pausing', 'paused', 'cancelling', 'succeeded', 'failed', 'cancelled'];

/** @type {Promise<void> | null} */
let loading = null;

export function load() {
  loading ??= list('/v1/runs')
    .then((found) => {
      runs.value = found;
      failure.value = null;
    })
    .catch((error) => {
      failure.value = error;
    })
    .finally(() => {
      loading = null;
    });
  return loading;
}

epoch.subscribe((n) => {
  if (n > 0) load();
});

// Changes gather for a moment, so that a burst of events draws the list once.
/** @typedef {Partial<Api['RunEntry']> & { deleted?: boolean }} Change */

/** @type {Map<string, Change>} */
let changed = new Map();
/** @type {number | undefined} */
let timer;

function flush() {
  timer = undefined;
  const batch = changed;
  changed = new Map();
  if (!runs.value) return;
  const known = new Set();
  const next = runs.value.map((run) => {
    known.add(run.id);
    return batch.has(run.id) ? { ...run, ...batch.get(run.id) } : run;
  });
  runs.value = next.filter((run) => !batch.get(run.id)?.deleted);
  for (const id of batch.keys()) {
    if (!known.has(id) && !batch.get(id)?.deleted) {
      get('/v1/runs/{id}', { path: { id } }).then(
        (run) => {
          const all = runs.value ?? [];
          if (!all.some((other) => other.id === id)) runs.value = [run, ...all];
        },
        () => {
          /* gone again, or the server is: the next epoch reads all */
        },
      );
    }
  }
}

/**
 * @param {string} id
 * @param {Change} fields
 */
function change(id, fields) {
  changed.set(id, { ...changed.get(id), ...fields });
  timer ??= setTimeout(flush, 250);
}

listen((event) => {
  const { run_id: id, time } = event;
  if (!id) return;
  if (event.kind === 'job') {
    const { data } = event;
    /** @type {Change} */
    const fields = { state: data.to, updated_at: time };
    if (data.to === 'running') fields.started_at = runs.value?.find((run) => run.id === id)?.started_at ?? time;
    if (isFinal(data.to)) fields.finished_at = time;
    change(id, fields);
    if (isFinal(data.to))
      get('/v1/runs/{id}', { path: { id } }).then(
        (run) => change(id, run),
        () => {},
      );
  } else if (event.kind === 'metrics') {
    const { data } = event;
    /** @type {Change} */
    const fields = { last_step: data.step, updated_at: time };
    const accuracy = data.values['eval/accuracy'];
    if (typeof accuracy === 'number') {
      const best = runs.value?.find((run) => run.id === id)?.best_accuracy;
      Object.assign(fields, { last_accuracy: accuracy, best_accuracy: Math.max(accuracy, best ?? 0) });
    }
    change(id, fields);
    grow(id, data);
  } else if (event.kind === 'rewind') {
    sparks.delete(id);
    change(id, { last_step: event.data.to_step ?? null });
  } else if (event.kind === 'run.deleted') {
    change(id, { deleted: true });
  }
});

/**
 * A run was changed from this page.
 * @param {Api['Run']} run
 */
export const renew = (run) => change(run.id, run);

/**
 * A run was deleted from this page: nothing of it is asked for any more.
 * @param {string} id
 */
export function forget(id) {
  change(id, { deleted: true });
  clearTimeout(timer);
  flush();
}

// ---- Small series of the list

/** @typedef {Record<string, Spark[]>} Sparks */

/** @type {Map<string, import('../../vendor/signals.js').Signal<Sparks | null>>} */
const sparks = new Map();
/** @type {string[]} */
const waiting = [];
let busy = 0;

/**
 * A signal with {key: [[step, value], …]} of a run; null while it is read.
 * @param {string} id
 */
export function spark(id) {
  const known = sparks.get(id);
  if (known) return known;
  const made = signal(/** @type {Sparks | null} */ (null));
  sparks.set(id, made);
  waiting.push(id);
  pump();
  return made;
}

async function pump() {
  // The newest wish first: that is the row on the screen.
  const id = busy >= 4 ? undefined : waiting.pop();
  if (id === undefined) return;
  busy += 1;
  try {
    const keys = [...(await headlines()), ...EFFORT];
    const { data } = await get('/v1/runs/{id}/metrics', { path: { id }, query: { max_points: 60, keys } });
    /** @type {Sparks} */
    const found = {};
    for (const { key, points } of data) found[key] = points.map((p) => [p.step, p.mean ?? null, p.count]);
    const known = sparks.get(id);
    if (known) known.value = found;
  } catch {
    sparks.delete(id);
  } finally {
    busy -= 1;
    pump();
  }
}

/**
 * @param {string} id
 * @param {Api['MetricsEvent']} event
 */
async function grow(id, { step, values }) {
  const keys = [...(await headlines().catch(() => /** @type {string[]} */ ([]))), ...EFFORT];
  const known = sparks.get(id);
  if (!known?.value) return;
  const next = { ...known.value };
  for (const key of keys) {
    const value = values[key];
    if (typeof value === 'number') next[key] = [...(next[key] || []).filter(([s]) => s < step), [step, value, 1]];
  }
  known.value = next;
}

/**
 * What a run's small series tell of its time.
 * @param {Sparks | null} small
 */
export const effortOf = (small) => effort((key) => (small?.[key] ?? []).map(([, mean, count]) => ({ mean, count })));

/**
 * How the bar of a run's progress looks.
 * @param {Api['JobState']} state
 */
export function lookOf(state) {
  if (state === 'succeeded') return 'good';
  if (state === 'failed') return 'bad';
  return state === 'running' ? '' : 'quiet';
}

/**
 * What a run started from, in words instead of the id of a checkpoint.
 * @param {Api['Run']} run
 */
export const startOf = ({ model, base_model: base }) =>
  model.startsWith('ckpt_') ? `a checkpoint of ${base ?? 'a model that is gone'}` : model;
