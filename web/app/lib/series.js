// All series of one run, loaded in buckets and grown by the live stream.
import { signal } from './html.js';
import { get } from './api.js';
import { epoch, listen } from './live.js';

/** More live points than this on top of the loaded ones, and the server's buckets are read anew. */
const MOST_POINTS = 4000;

/** The series of a run. `version` grows when anything changed; `close()` ends the subscription. */
export class RunSeries {
  /**
   * @param {string} id
   * @param {{ keys?: string[], maxPoints?: number }} [settings]
   */
  constructor(id, { keys = [], maxPoints = 1000 } = {}) {
    this.id = id;
    this.keys = keys;
    this.maxPoints = maxPoints;
    /** @type {Map<string, PointSeries>} */
    this.map = new Map();
    this.version = signal(0);
    this.state = signal(/** @type {'loading' | 'ready' | 'failed'} */ ('loading'));
    this.loading = false;
    this.closed = false;
    /** @type {unknown} */
    this.error = null;
    /** Events that came while the points were read. @type {LiveEvent[]} */
    this.early = [];
    /** @type {number | undefined} */
    this.describing = undefined;
    /** @type {number | null} */
    this.bumping = null;
    const stopEvents = listen((event) => this.hear(event));
    const stopEpoch = epoch.subscribe(() => {
      this.load();
    });
    this.close = () => {
      stopEvents();
      stopEpoch();
      this.closed = true;
    };
  }

  async load() {
    if (this.loading) return;
    this.loading = true;
    try {
      const { data } = await get('/v1/runs/{id}/metrics', {
        path: { id: this.id },
        query: { max_points: this.maxPoints, keys: this.keys },
      });
      this.map = new Map(data.map((series) => [series.key, series]));
      this.state.value = 'ready';
      this.error = null;
    } catch (error) {
      this.error = error;
      if (this.map.size === 0) this.state.value = 'failed';
    } finally {
      this.loading = false;
    }
    // What came while the answer was on its way: points it already holds are the same and are left out.
    const early = this.early;
    this.early = [];
    for (const event of early) this.hear(event);
    this.bump();
  }

  /** @param {LiveEvent} event */
  hear(event) {
    if (event.run_id !== this.id) return;
    if (this.loading) {
      this.early.push(event);
      return;
    }
    if (event.kind === 'metrics') this.append(event.data, event.time);
    else if (event.kind === 'rewind') this.rewind(event.data.to_step);
  }

  /**
   * @param {Api['MetricsEvent']} event
   * @param {string} time
   */
  append({ step, samples, tokens, values }, time) {
    let longest = 0;
    for (const [key, value] of Object.entries(values)) {
      let series = this.map.get(key);
      if (!series) {
        series = { key, unit: '1', description: '', better: 'neutral', points: [] };
        this.map.set(key, series);
        this.describe();
      }
      const last = series.points.at(-1);
      if (last && last.step >= step) continue;
      series.points.push({ step, time, samples, tokens, mean: value, min: value, max: value, count: 1 });
      longest = Math.max(longest, series.points.length);
    }
    if (longest > MOST_POINTS) this.load();
    this.bump();
  }

  /**
   * Later steps are gone and come again; null: all of them.
   * @param {number | null | undefined} step
   */
  rewind(step) {
    for (const series of this.map.values()) {
      series.points = step === null || step === undefined ? [] : series.points.filter((point) => point.step <= step);
    }
    this.bump();
  }

  /** Units and meanings of keys that appeared live. */
  describe() {
    clearTimeout(this.describing);
    this.describing = setTimeout(async () => {
      try {
        const { data } = await get('/v1/runs/{id}/metrics/keys', { path: { id: this.id } });
        for (const { key, unit, description, better } of data) {
          const series = this.map.get(key);
          if (series) Object.assign(series, { unit, description, better });
        }
        this.bump();
      } catch {
        /* plain numbers, then */
      }
    }, 300);
  }

  bump() {
    if (this.closed) return;
    this.bumping ??= setTimeout(() => {
      this.bumping = null;
      this.version.value += 1;
    }, 100);
  }

  /** @param {string} key */
  get(key) {
    return this.map.get(key);
  }
  /** @param {string} key */
  has(key) {
    return (this.map.get(key)?.points.length ?? 0) > 0;
  }
  /** @param {string} key */
  last(key) {
    return this.map.get(key)?.points.at(-1)?.mean ?? null;
  }
  /** @param {RegExp} pattern */
  matching(pattern) {
    return [...this.map.keys()].filter((key) => pattern.test(key) && this.has(key)).sort();
  }
}

/**
 * The x values of points: `step`, `time` (seconds since the first), `tokens`.
 * @param {Point[]} points
 * @param {XKind} kind
 * @param {number} [origin]
 */
export function xs(points, kind, origin) {
  if (kind === 'time') {
    const start = origin ?? (points.length ? Date.parse(points[0].time) : 0);
    return points.map((point) => (Date.parse(point.time) - start) / 1000);
  }
  const field = kind === 'tokens' || kind === 'samples' ? kind : 'step';
  return points.map((point) => point[field]);
}
