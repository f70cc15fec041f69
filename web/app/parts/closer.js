// What is zoomed into is read again in finer buckets, and laid over what was loaded for the whole run.
import { useMemo } from '../lib/html.js';
import { get } from '../lib/api.js';
import { xs } from '../lib/series.js';
import { useLoad } from './common.js';

/** @typedef {import('../lib/series.js').RunSeries} RunSeries */

const MOST_POINTS = 1000;

/**
 * The steps between two places of the horizontal axis.
 * @param {Point[]} points
 * @param {XKind} kind
 * @param {[number, number]} part
 * @returns {[number, number] | null}
 */
function steps(points, kind, [from, to]) {
  if (kind === 'step') return [Math.max(0, Math.floor(from)), Math.ceil(to)];
  const places = xs(points, kind);
  const inside = points.filter((_, i) => places[i] >= from && places[i] <= to);
  return inside.length > 0 ? [inside[0].step, inside[inside.length - 1].step] : null;
}

/** The loaded series of a run with finer points where there are any; read like `RunSeries`. */
class Closer {
  /**
   * @param {RunSeries} data
   * @param {Map<string, Point[]> | null | undefined} fine
   */
  constructor(data, fine) {
    this.data = data;
    this.fine = fine;
    this.map = data.map;
  }

  /**
   * @param {string} key
   * @returns {PointSeries | undefined}
   */
  get(key) {
    const whole = this.data.get(key);
    const inner = this.fine?.get(key);
    if (!whole || !inner?.length) return whole;
    const [first, last] = [inner[0].step, inner[inner.length - 1].step];
    return {
      ...whole,
      points: [...whole.points.filter((p) => p.step < first), ...inner, ...whole.points.filter((p) => p.step > last)],
    };
  }

  /** @param {string} key */
  has(key) {
    return this.data.has(key);
  }
  /** @param {string} key */
  last(key) {
    return this.data.last(key);
  }
  /** @param {RegExp} pattern */
  matching(pattern) {
    return this.data.matching(pattern);
  }
}

/**
 * @param {RunSeries} data
 * @param {string[]} keys
 * @param {XKind} kind
 * @param {[number, number]} part
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, Point[]> | null>}
 */
async function finer(data, keys, kind, part, signal) {
  const rough = keys.filter((key) => data.get(key)?.points.some((p) => p.count > 1));
  const range = rough.length > 0 ? steps(data.get(rough[0])?.points ?? [], kind, part) : null;
  if (!range) return null;
  const { data: found } = await get('/v1/runs/{id}/metrics', {
    path: { id: data.id },
    query: { keys: rough, from_step: range[0], to_step: range[1], max_points: MOST_POINTS },
    signal,
  });
  return new Map(found.map(({ key, points }) => [key, points]));
}

/**
 * `all`: the `RunSeries` of some runs; `part`: what is zoomed into, or null.
 * @param {RunSeries[]} all
 * @param {string[]} keys
 * @param {XKind} kind
 * @param {[number, number] | null} part
 */
export function useCloser(all, keys, kind, part) {
  const [fine] = useLoad(
    (signal) => (part ? Promise.all(all.map((data) => finer(data, keys, kind, part, signal))) : Promise.resolve(null)),
    [JSON.stringify(part), keys.join(), kind, all],
  );
  const versions = all.map((data) => data.version.value).join();
  return useMemo(
    () => all.map((data, i) => new Closer(data, part ? fine?.[i] : null)),
    [fine, versions, all, part === null],
  );
}
