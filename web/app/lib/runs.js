// Every run, kept up to date by the live stream; small series for the list, read when a row is seen.
import { signal } from './html.js';
import { get, list } from './api.js';
import { epoch, listen } from './live.js';

/** Newest first; null until the first answer. */
export const runs = signal(null);
/** Why the list could not be read. */
export const failure = signal(null);

const FINAL = new Set(['succeeded', 'failed', 'cancelled']);
export const isFinal = (state) => FINAL.has(state);
export const STATES = ['queued', 'running', 'pausing', 'paused', 'cancelling', 'succeeded', 'failed', 'cancelled'];

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
let changed = new Map();
let timer = null;

function flush() {
  timer = null;
  const batch = changed;
  changed = new Map();
  if (!runs.value) return;
  const known = new Set();
  const next = runs.value.map((run) => {
    known.add(run.id);
    return batch.has(run.id) ? { ...run, ...batch.get(run.id) } : run;
  });
  runs.value = next.filter((run) => !run.deleted);
  for (const id of batch.keys()) {
    if (!known.has(id) && !batch.get(id).deleted) {
      get(`/v1/runs/${id}`).then(
        (run) => {
          if (!runs.value.some((other) => other.id === id)) runs.value = [run, ...runs.value];
        },
        () => {
          /* gone again, or the server is: the next epoch reads all */
        },
      );
    }
  }
}

function change(id, fields) {
  changed.set(id, { ...changed.get(id), ...fields });
  timer ??= setTimeout(flush, 250);
}

listen(({ kind, run_id: id, data, time }) => {
  if (!id) return;
  if (kind === 'job') {
    const fields = { state: data.to, updated_at: time };
    if (data.to === 'running') fields.started_at = runs.value?.find((run) => run.id === id)?.started_at ?? time;
    if (isFinal(data.to)) fields.finished_at = time;
    change(id, fields);
    if (isFinal(data.to))
      get(`/v1/runs/${id}`).then(
        (run) => change(id, run),
        () => {},
      );
  } else if (kind === 'metrics') {
    const fields = { last_step: data.step, updated_at: time };
    const accuracy = data.values['eval/accuracy'];
    if (typeof accuracy === 'number') {
      const best = runs.value?.find((run) => run.id === id)?.best_accuracy;
      Object.assign(fields, { last_accuracy: accuracy, best_accuracy: Math.max(accuracy, best ?? 0) });
    }
    change(id, fields);
    grow(id, data);
  } else if (kind === 'rewind') {
    sparks.delete(id);
    change(id, { last_step: data.to_step });
  } else if (kind === 'run.deleted') {
    change(id, { deleted: true });
  }
});

/** A run was deleted from this page: nothing of it is asked for any more. */
export function forget(id) {
  change(id, { deleted: true });
  clearTimeout(timer);
  flush();
}

// ---- Small series of the list

const SPARK_KEYS = ['reward/mean', 'eval/accuracy', 'accuracy', 'loss/policy'];
const sparks = new Map();
const waiting = [];
let busy = 0;

/** A signal with {key: [[step, value], …]} of a run; null while it is read. */
export function spark(id) {
  if (!sparks.has(id)) {
    sparks.set(id, signal(null));
    waiting.push(id);
    pump();
  }
  return sparks.get(id);
}

async function pump() {
  if (busy >= 4 || waiting.length === 0) return;
  busy += 1;
  // The newest wish first: that is the row on the screen.
  const id = waiting.pop();
  try {
    const { data } = await get(`/v1/runs/${id}/metrics?max_points=60&keys=${SPARK_KEYS.join(',')}`);
    const found = Object.fromEntries(data.map(({ key, points }) => [key, points.map((p) => [p.step, p.mean])]));
    if (sparks.has(id)) sparks.get(id).value = found;
  } catch {
    sparks.delete(id);
  } finally {
    busy -= 1;
    pump();
  }
}

function grow(id, { step, values }) {
  const known = sparks.get(id);
  if (!known?.value) return;
  const next = { ...known.value };
  for (const key of SPARK_KEYS) {
    if (typeof values[key] === 'number')
      next[key] = [...(next[key] || []).filter(([s]) => s < step), [step, values[key]]];
  }
  known.value = next;
}

/** Seconds until a run ends, from its pace so far; null where nothing tells. */
export function timeLeft(run, now = Date.now()) {
  if (run.state !== 'running' || !run.started_at || !(run.last_step > 0)) return null;
  const spent = (now - Date.parse(run.started_at)) / 1000;
  return (spent / run.last_step) * Math.max(0, run.steps - run.last_step);
}
