// From series to a uPlot chart: aligned data, bands, smoothing, axes.
import uPlot from '../../vendor/uplot.js';
import { duration, number, percent, plain } from './format.js';
import { penOf } from './canvas.js';
import { token } from './colour.js';

/**
 * What each column of the aligned data is, and of which series.
 * @typedef {{ role: 'high' | 'low' | 'raw' | 'line', index: number }[]} Plan
 */

/**
 * Exponential smoothing without the pull of the first value; gaps stay.
 * @param {Numbers} values
 * @param {number} weight
 */
export function smooth(values, weight) {
  if (!weight) return values;
  let mean = 0,
    norm = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    mean = mean * weight + value * (1 - weight);
    norm = norm * weight + (1 - weight);
    return mean / norm;
  });
}

/**
 * Running sums over series, for stacked areas. Every area has a height wherever one of them has: what was not measured
 * there took nothing, and is not drawn between its neighbours.
 * @param {Series[]} series
 */
function stack(series) {
  const x = [...new Set(series.flatMap((one) => one.x))].sort((a, b) => a - b);
  const sums = x.map(() => 0);
  return series.map((one) => {
    const at = new Map(one.x.map((place, i) => [place, one.y[i] ?? 0]));
    x.forEach((place, i) => {
      sums[i] += at.get(place) ?? 0;
    });
    return { ...one, x, y: [...sums] };
  });
}

/**
 * Limits of the vertical axis: some air, zero where it is near, and never a range too thin to divide.
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
function limits(low, high) {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low <= Math.max(size * 1e-9, 1e-12)) {
    return size > 1e-9 ? [low - size * 0.1, high + size * 0.1] : [0, 1];
  }
  const air = (high - low) * 0.07;
  return [low >= 0 && low < 0.3 * high ? 0 : low - air, high <= 0 ? Math.min(0, high + air) : high + air];
}

/** @param {Numbers} values */
const positive = (values) => values.map((value) => (value !== null && value > 0 ? value : null));

/**
 * The columns of a chart: what is drawn and how it is aligned.
 * A series is {label, colour, x, y, lo, hi, dash}; `lo` and `hi` become a band.
 * @param {Series[]} series
 * @param {{ log: boolean, weight: number, stacked: boolean }} look
 */
export function columns(series, { log, weight, stacked }) {
  const drawn = stacked ? stack(series) : series;
  /** @type {uPlot.AlignedData[]} */
  const tables = [];
  /** @type {Plan} */
  const plan = [];
  for (const [index, one] of drawn.entries()) {
    /** @type {[number[], ...Numbers[]]} */
    const table = [one.x];
    /** @param {Numbers} values */
    const fit = (values) => (log ? positive(values) : values);
    if (one.lo && one.hi && !stacked) {
      table.push(fit(one.hi), fit(one.lo));
      plan.push({ role: 'high', index }, { role: 'low', index });
    }
    if (weight && !stacked && drawn.length <= 8) {
      table.push(fit(one.y));
      plan.push({ role: 'raw', index });
    }
    table.push(fit(stacked ? one.y : smooth(one.y, weight)));
    plan.push({ role: 'line', index });
    tables.push(table);
  }
  /** @type {uPlot.AlignedData} */
  const data = tables.length ? uPlot.join(tables) : [[]];
  return { data, plan };
}

const FONT = '12px system-ui, sans-serif';
const ruler = penOf(document.createElement('canvas'));

/**
 * Room for the longest text of a vertical axis; not less than most need, so that charts in a column line up.
 * @param {string[] | null} texts
 */
function wide(texts) {
  ruler.font = FONT;
  return Math.max(52, ...(texts ?? []).map((text) => Math.ceil(ruler.measureText(text).width) + 12));
}

/**
 * @param {string} colour
 * @param {number} percent
 */
const faded = (colour, percent) => `color-mix(in srgb, ${colour} ${percent}%, transparent)`;

/**
 * @param {Plan} plan
 * @param {Series[]} series
 * @param {{ stacked: boolean, sparse: boolean }} look
 * @returns {uPlot.Series[]}
 */
function seriesOptions(plan, series, { stacked, sparse }) {
  return plan.map(({ role, index }) => {
    const { label, colour, dash } = series[index];
    if (role === 'high' || role === 'low')
      return { label: `${label} ${role}`, stroke: 'transparent', width: 0, points: { show: false } };
    if (role === 'raw')
      return { label: `${label} (raw)`, stroke: faded(colour, 28), width: 1, points: { show: false } };
    return {
      label,
      stroke: colour,
      width: stacked ? 1 : 2,
      dash,
      points: { show: sparse && !stacked, size: 6, fill: colour, width: 0 },
    };
  });
}

/**
 * @param {Plan} plan
 * @param {Series[]} series
 * @param {boolean} stacked
 */
function bands(plan, series, stacked) {
  /** @type {uPlot.Band[]} */
  const found = [];
  for (let at = 0; at < plan.length; at += 1) {
    const colour = series[plan[at].index].colour;
    if (plan[at].role === 'high') found.push({ series: [at + 1, at + 2], fill: faded(colour, 16) });
    if (stacked && at > 0) found.push({ series: [at + 1, at], fill: faded(colour, 55) });
  }
  return found;
}

/** @type {Record<XKind, string>} */
export const xLabel = {
  step: 'step',
  time: 'time since start',
  tokens: 'tokens',
  samples: 'responses',
  progress: 'position in the response',
  token: 'token',
};

/**
 * Text of an x value.
 * @param {number} value
 * @param {XKind} kind
 */
export function xText(value, kind) {
  if (kind === 'time') return duration(value);
  if (kind === 'progress') return `${Math.round(value * 100)}%`;
  return number(value, 6);
}

/** Distances of ticks on an axis of whole numbers. */
const WHOLE = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

/**
 * Ticks of the vertical axis: all with as many decimals as their distance needs.
 * @param {(number | null)[]} splits
 * @param {(value: number) => string} text
 */
export function ticks(splits, text) {
  const known = splits.flatMap((value) => value ?? []);
  const scale = text === percent ? 100 : 1;
  const distance = scale * (known.length > 1 ? known[1] - known[0] : 0);
  const even = (text === percent || text === plain) && distance >= 1e-3 && scale * Math.abs(known[0]) < 1e6;
  const decimals = even ? Math.min(6, Math.max(0, Math.ceil(-Math.log10(distance) - 1e-9))) : 0;
  // Half a unit needs a decimal more than a unit, a quarter two.
  const fits = [0, 1, 2].find((more) => isWhole(distance * 10 ** (decimals + more))) ?? 0;
  /** @param {number} value */
  const one = (value) => (even ? (scale * value).toFixed(decimals + fits) + (scale === 100 ? '%' : '') : text(value));
  return splits.map((value) => (value === null ? '' : one(value)));
}

/** @param {number} value */
const isWhole = (value) => Math.abs(value - Math.round(value)) < 1e-6;

/**
 * uPlot's options. `hooks` are called for cursor and zoom.
 * @param {Plan} plan
 * @param {Series[]} series
 * @param {{
 *   width: number, height: number, log: boolean, stacked: boolean, kind: XKind, count: number,
 *   sync?: string | undefined, yText: (value: number) => string,
 *   range?: ((low: number, high: number) => [number, number]) | undefined,
 *   onCursor: (place: number | null | undefined) => void, onZoom: (part: [number, number] | null) => void,
 * }} settings
 * @returns {uPlot.Options}
 */
export function options(
  plan,
  series,
  { width, height, log, stacked, kind, sync, yText, range, onCursor, onZoom, count },
) {
  const ink = token('--muted'),
    grid = token('--grid');
  const axis = {
    stroke: ink,
    font: FONT,
    grid: { stroke: grid, width: 1 },
    ticks: { stroke: grid, width: 1, size: 4 },
  };
  const made = seriesOptions(plan, series, { stacked, sparse: count <= 60 });
  if (stacked && made[0]) made[0].fill = faded(series[0].colour, 55);
  return {
    width,
    height,
    legend: { show: false },
    padding: [8, 10, 0, 0],
    scales: {
      x: { time: false },
      y: { distr: log ? 3 : 1, ...(log ? {} : { range: (_, lo, hi) => (range || limits)(lo, hi) }) },
    },
    axes: [
      {
        ...axis,
        size: 28,
        gap: 3,
        values: (_, splits) => splits.map((v) => (v === null ? '' : xText(v, kind))),
        space: 64,
        // There is nothing between two steps.
        ...(kind === 'time' || kind === 'progress' ? {} : { incrs: WHOLE }),
      },
      {
        ...axis,
        size: (_, texts) => wide(texts),
        gap: 4,
        values: (_, splits) => ticks(splits, yText),
      },
    ],
    series: [{}, ...made],
    bands: bands(plan, series, stacked),
    cursor: {
      sync: sync ? { key: sync, setSeries: false } : undefined,
      points: { size: 8 },
      drag: { x: true, y: false },
      focus: { prox: 24 },
    },
    hooks: {
      setCursor: [(plot) => onCursor(plot.cursor.idx)],
      setScale: [
        (plot, key) => {
          if (key !== 'x') return;
          const all = plot.data[0];
          if (!all.length) return;
          const { min = all[0], max = all[all.length - 1] } = plot.scales.x;
          onZoom(min > all[0] || max < all[all.length - 1] ? [min, max] : null);
        },
      ],
    },
  };
}

export { uPlot };
