// Which series share a chart of a run, and how they are labelled.
import { bytes, duration, number, percent, wilson } from './format.js';
import { series as colourOf } from './colour.js';
import { xs } from './series.js';

/**
 * The sections of a run's curves. A chart lists `keys`: [key, label, options]; `match` finds keys by pattern.
 * Options: `low`/`high` (keys of a band), `std` (key of a spread), `interval` (key with the rows of a share), `dash`.
 */
/**
 * @typedef {{ low?: string, high?: string, std?: string, interval?: string, dash?: number[] }} LineOptions
 * @typedef {[key: string, label: string, options?: LineOptions]} Line
 * @typedef {{
 *   title: string, note?: string | undefined, keys: Line[], match?: RegExp, stacked?: boolean,
 *   text?: (value: number | null | undefined) => string, range?: () => [number, number],
 * }} ChartPlan
 */

/** @type {{ title: string, note: string, charts: ChartPlan[] }[]} */
export const SECTIONS = [
  {
    title: 'Learning',
    note: 'Does it get better?',
    charts: [
      {
        title: 'Accuracy',
        text: percent,
        keys: [
          ['eval/accuracy', 'held-out, greedy (95% interval)', { interval: 'eval/rows' }],
          ['accuracy', 'training rollouts'],
        ],
      },
      {
        title: 'Reward',
        keys: [['reward/mean', 'reward (± 1 sd)', { std: 'reward/std' }]],
        match: /^reward\/(?!mean|std)([^/]+)\/mean$/,
      },
      {
        title: 'Response length',
        keys: [
          ['response_length/mean', 'mean (min to max)', { low: 'response_length/min', high: 'response_length/max' }],
          ['eval/response_length', 'held-out'],
        ],
      },
    ],
  },
  {
    title: 'Looking',
    note: 'Does it keep its eyes on the image? Late over early below 1 means that it forgets.',
    charts: [
      {
        title: 'Focus kept: late over early',
        keys: [
          ['eval/late_early_ratio_right', 'right answers'],
          ['eval/late_early_ratio_wrong', 'wrong answers'],
          ['visual/late_early_ratio', 'training rollouts', { dash: [4, 4] }],
        ],
      },
      {
        title: 'Attention: image, question, own text',
        stacked: true,
        text: percent,
        range: () => [0, 1],
        keys: [
          ['attention/image', 'image'],
          ['attention/query', 'question'],
          ['attention/generated', 'own text'],
        ],
      },
      {
        title: 'Attention to the image',
        text: percent,
        keys: [
          ['attention/image_early', 'first third'],
          ['attention/image_late', 'last third'],
          ['eval/attention_image_early', 'held-out, first third', { dash: [4, 4] }],
          ['eval/attention_image_late', 'held-out, last third', { dash: [4, 4] }],
        ],
      },
      {
        title: 'Visual focus',
        keys: [
          ['visual/focus_early', 'first third'],
          ['visual/focus_mean', 'whole response'],
          ['visual/focus_late', 'last third'],
        ],
      },
      {
        title: 'Token weights 1 + ψ',
        note: 'How unevenly credit is spread over the tokens of a response.',
        keys: [
          ['visual/token_weight_std', 'spread'],
          ['visual/token_weight_max', 'largest', { dash: [4, 4] }],
          ['visual/token_weight_min', 'smallest', { dash: [4, 4] }],
        ],
      },
      {
        title: 'Trajectory weights 1 + φ',
        note: 'How unevenly credit is spread over the responses of a group.',
        keys: [
          ['visual/trajectory_weight_max', 'largest'],
          ['visual/trajectory_weight_min', 'smallest'],
        ],
      },
      {
        title: 'Gate and compensation',
        keys: [
          ['visual/gate_rate', 'share of tokens that pass the gate'],
          ['visual/compensation_mean', 'mean compensation'],
        ],
      },
    ],
  },
  {
    title: 'Policy',
    note: 'Is the update healthy?',
    charts: [
      {
        title: 'KL',
        keys: [
          ['policy/kl', 'old to new policy'],
          ['policy/reference_kl', 'to the reference'],
          ['rollout/kl', 'sampler to trainer', { dash: [4, 4] }],
        ],
      },
      {
        title: 'Clipped tokens',
        text: percent,
        keys: [
          ['policy/clip_fraction_low', 'lower limit'],
          ['policy/clip_fraction_high', 'upper limit'],
        ],
      },
      { title: 'Entropy', text: (v) => `${number(v)} nat`, keys: [['policy/entropy', 'next-token entropy']] },
      { title: 'Gradient norm', keys: [['optimizer/grad_norm', 'before clipping']] },
      { title: 'Loss', keys: [['loss/policy', 'policy loss']] },
      { title: 'Learning rate', keys: [['optimizer/learning_rate', 'learning rate']] },
      {
        title: 'Groups',
        keys: [
          ['groups/kept', 'trained'],
          ['groups/dropped', 'left out: all right or all wrong'],
        ],
      },
      {
        title: 'Advantage',
        keys: [
          ['advantage/std', 'spread'],
          ['advantage/mean', 'mean', { dash: [4, 4] }],
        ],
      },
    ],
  },
  {
    title: 'Speed',
    note: 'Where does the time go?',
    charts: [
      {
        title: 'Time of a step by phase',
        stacked: true,
        text: duration,
        keys: [
          ['time/rollout', 'rollout'],
          ['time/publish', 'weights to the servers that sample'],
          ['time/reward', 'reward'],
          ['time/logprob', 'log-probs'],
          ['time/update', 'update'],
          ['time/evaluation', 'evaluation'],
          ['time/checkpoint', 'checkpoint'],
        ],
      },
      {
        title: 'Servers that sample',
        text: duration,
        keys: [
          ['time/rollout_wait', 'waiting: none answered'],
          ['time/publish', 'weights on their way'],
        ],
      },
      {
        title: 'Age of the weights that sampled',
        text: (v) => `${number(v)} steps`,
        keys: [['rollout/version_lag', 'behind those that were trained']],
      },
      {
        title: 'Throughput',
        text: (v) => `${number(v)} tokens/s`,
        keys: [['throughput/tokens_per_second', 'response tokens']],
      },
      { title: 'Memory', text: bytes, keys: [['memory/peak_bytes', 'peak of the worker']] },
    ],
  },
];

/** @param {Point[]} points */
const column = (points) => points.map((point) => point.mean ?? null);

/**
 * A band from two other series at the same steps.
 * @param {SeriesReader} data
 * @param {Point[]} points
 * @param {LineOptions} options
 * @returns {{ lo?: Numbers, hi?: Numbers }}
 */
function band(data, points, { low, high, std, interval }) {
  /** @param {string} key */
  const at = (key) => new Map((data.get(key)?.points || []).map((point) => [point.step, point]));
  if (std) {
    const spread = at(std);
    /** @param {1 | -1} sign */
    const side = (sign) =>
      column(points).map((mean, i) => (mean === null ? null : mean + sign * (spread.get(points[i].step)?.mean ?? 0)));
    return { lo: side(-1), hi: side(1) };
  }
  if (interval) {
    const rows = at(interval);
    const ends = points.map((p) => wilson(p.mean ?? null, rows.get(p.step)?.mean));
    return { lo: ends.map((e) => e?.[0] ?? null), hi: ends.map((e) => e?.[1] ?? null) };
  }
  if (low && high) {
    const [lows, highs] = [at(low), at(high)];
    return {
      lo: points.map((p) => lows.get(p.step)?.min ?? null),
      hi: points.map((p) => highs.get(p.step)?.max ?? null),
    };
  }
  // Buckets of several points show what they hide.
  return points.some((p) => p.count > 1)
    ? { lo: points.map((p) => p.min ?? null), hi: points.map((p) => p.max ?? null) }
    : {};
}

/**
 * The lines of a chart that the run has points for.
 * @param {SeriesReader} data
 * @param {ChartPlan} chart
 * @returns {Line[]}
 */
function linesOf(data, chart) {
  const own = chart.keys.filter(([key]) => data.has(key));
  const { match } = chart;
  /** @type {Line[]} */
  const found = match ? data.matching(match).map((key) => [key, match.exec(key)?.[1] ?? key]) : [];
  // A part that is the whole says nothing new.
  return [...own, ...(found.length > 1 ? found : [])];
}

/**
 * Every key that a chart reads; none where the run has nothing for it.
 * @param {SeriesReader} data
 * @param {ChartPlan} chart
 * @returns {string[]}
 */
export const keysOf = (data, chart) =>
  linesOf(data, chart).flatMap(([key, , { low, high, std, interval } = {}]) =>
    [key, low, high, std, interval].flatMap((one) => (one !== undefined && data.has(one) ? [one] : [])),
  );

/**
 * Points of several keys in the buckets of the one with the most, so that they can be added: a bucket holds the mean
 * over its steps, and a step without a value counts as nothing.
 * @param {Point[][]} lines
 * @returns {Point[][]}
 */
export function inBuckets(lines) {
  if (lines.flat().every(({ count }) => count === 1)) return lines;
  /** @param {Point[]} points */
  const weight = (points) => points.reduce((total, { count }) => total + count, 0);
  const base = lines.reduce((one, other) => (weight(other) > weight(one) ? other : one), []);
  return lines.map((points) => {
    let next = 0;
    return base.flatMap((bucket, i) => {
      let total = 0;
      const first = next;
      const last = i === base.length - 1;
      for (; next < points.length && (last || points[next].step <= bucket.step); next += 1)
        total += (points[next].mean ?? 0) * points[next].count;
      return next > first ? [{ ...bucket, mean: total / bucket.count }] : [];
    });
  });
}

/**
 * The series of one chart of a run.
 * @param {SeriesReader} data
 * @param {ChartPlan} chart
 * @param {XKind} kind
 * @returns {Series[]}
 */
export function chartSeries(data, chart, kind) {
  const lines = linesOf(data, chart);
  const all = lines.map(([key]) => data.get(key)?.points ?? []);
  const drawn = chart.stacked ? inBuckets(all) : all;
  return lines.map(([key, label, settings = {}], n) => {
    const points = drawn[n];
    const description = data.get(key)?.description ?? '';
    return {
      label,
      title: `${key}: ${description}`,
      colour: colourOf(n),
      dash: settings.dash,
      x: xs(points, kind),
      y: column(points),
      ...band(data, points, settings),
    };
  });
}

/**
 * Keys that no section shows.
 * @param {SeriesReader} data
 */
export function others(data) {
  const told = new Set(
    SECTIONS.flatMap(({ charts }) =>
      charts.flatMap(({ keys }) => keys.flatMap(([key, , o = {}]) => [key, o.low, o.high, o.std, o.interval])),
    ),
  );
  return [...data.map.keys()]
    .filter((key) => !told.has(key) && data.has(key) && !/^reward\/.+\/(mean|std)$/.test(key))
    .sort();
}
