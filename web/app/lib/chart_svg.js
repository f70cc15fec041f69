// A chart as an SVG of its own: title, axes with their names, bands, lines, legend. What pictures are made from.
import { token } from './colour.js';
import { ticks, xLabel, xText } from './plot.js';

const [WIDTH, PLOT_TOP, PLOT_HEIGHT, LEFT, RIGHT] = [760, 46, 320, 84, 20];
const LINE = 20;
const FONT = 'system-ui, -apple-system, Segoe UI, sans-serif';

/** @param {string} text */
const escaped = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** @param {number} value */
const short = (value) => String(Math.round(value * 100) / 100);

/**
 * Round numbers between two ends.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @param {number} least the smallest distance
 */
export function roundTicks(low, high, most, least = 0) {
  const rough = Math.max((high - low) / most, least, Number.MIN_VALUE);
  const power = 10 ** Math.floor(Math.log10(rough));
  const distance = ([1, 2, 5, 10].find((digit) => digit * power >= rough * (1 - 1e-9)) ?? 10) * power;
  const found = [];
  const first = Math.ceil(low / distance - 1e-9);
  for (let n = first; n * distance <= high + distance * 1e-9; n += 1) found.push(n * distance);
  return found;
}

/**
 * Powers of ten between two ends; their halves and fifths too where there are few.
 * @param {number} low
 * @param {number} high
 */
function logTicks(low, high) {
  const digits = Math.log10(high / low) < 3 ? [1, 2, 5] : [1];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1)
    for (const digit of digits) found.push(digit * 10 ** power);
  return found.filter((value) => value >= low && value <= high);
}

/**
 * @typedef {{
 *   title: string, full: Series[], plan: import('./plot.js').Plan, data: AlignedData, kind: XKind, stacked: boolean,
 *   log: boolean, text: (value: number | null | undefined) => string, x: [number, number], y: [number, number],
 * }} Drawing
 */

/**
 * Where values are on the picture.
 * @param {Drawing} drawing
 */
function scales({ x: [left, right], y: [low, high], log }) {
  const inner = WIDTH - LEFT - RIGHT;
  /** @param {number} value */
  const of = (value) => (log ? Math.log10(Math.max(value, Number.MIN_VALUE)) : value);
  return {
    /** @param {number} value */
    x: (value) => LEFT + (inner * (value - left)) / (right - left || 1),
    /** @param {number} value */
    y: (value) => PLOT_TOP + PLOT_HEIGHT - (PLOT_HEIGHT * (of(value) - of(low))) / (of(high) - of(low) || 1),
  };
}

/**
 * The pieces of a curve: null is a gap, undefined is a place of another curve.
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number | null | undefined>} ys
 * @returns {[x: number, y: number][][]}
 */
function pieces(xs, ys) {
  /** @type {[number, number][][]} */
  const found = [[]];
  for (let i = 0; i < xs.length; i += 1) {
    const y = ys[i];
    if (y === null) found.push([]);
    else if (typeof y === 'number' && Number.isFinite(y)) found[found.length - 1].push([xs[i], y]);
  }
  return found.filter((piece) => piece.length > 0);
}

/**
 * @param {Drawing} drawing
 * @returns {string[]}
 */
function axes(drawing) {
  const {
    x: ends,
    y: [low, high],
    kind,
    log,
    text,
    title,
  } = drawing;
  const to = scales(drawing);
  const [ink, grid, muted] = [token('--ink'), token('--grid'), token('--muted')];
  const bottom = PLOT_TOP + PLOT_HEIGHT;
  const whole = kind === 'progress' ? 0 : 1;
  const ys = log ? logTicks(low, high) : roundTicks(low, high, 6);
  const names = log ? ys.map((value) => text(value)) : ticks(ys, text);
  const across = ys.map((value, i) => {
    const at = short(to.y(value));
    return (
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="${grid}"/>` +
      `<text x="${LEFT - 8}" y="${at}" dy="0.35em" text-anchor="end" fill="${muted}">${escaped(names[i])}</text>`
    );
  });
  const down = roundTicks(ends[0], ends[1], 8, whole).map((value) => {
    const at = short(to.x(value));
    const name = escaped(xText(value, kind));
    return (
      `<line x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 5}" stroke="${muted}"/>` +
      `<text x="${at}" y="${bottom + 19}" text-anchor="middle" fill="${muted}">${name}</text>`
    );
  });
  const middle = PLOT_TOP + PLOT_HEIGHT / 2;
  return [
    ...across,
    ...down,
    `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${bottom}" y2="${bottom}" stroke="${muted}"/>`,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${bottom + 40}" text-anchor="middle" fill="${ink}">` +
      `${escaped(xLabel[kind])}</text>`,
    `<text transform="translate(18 ${middle}) rotate(-90)" text-anchor="middle" fill="${ink}">${escaped(title)}</text>`,
  ];
}

/**
 * @param {Drawing} drawing
 * @returns {string[]}
 */
function curves(drawing) {
  const { full, plan, data, stacked } = drawing;
  const to = scales(drawing);
  /** @param {[number, number][]} points */
  const through = (points) => points.map(([x, y]) => `${short(to.x(x))} ${short(to.y(y))}`).join('L');
  /** @param {number} index @param {string} role */
  const column = (index, role) => {
    const at = plan.findIndex((entry) => entry.index === index && entry.role === role);
    return at < 0 ? null : data[at + 1];
  };
  /** @param {ArrayLike<number | null | undefined>} high @param {ArrayLike<number | null | undefined>} low */
  const between = (high, low) => {
    const tops = pieces(data[0], high).flat();
    const bottoms = pieces(data[0], low).flat().reverse();
    return tops.length > 1 && bottoms.length > 1 ? `M${through(tops)}L${through(bottoms)}Z` : '';
  };
  const floor = Array.from(data[0], () => drawing.y[0]);
  return full.flatMap((one, index) => {
    const [high, low, raw, line] = ['high', 'low', 'raw', 'line'].map((role) => column(index, role));
    const drawn = [];
    const below = stacked ? (index > 0 ? column(index - 1, 'line') : floor) : null;
    const area = high && low ? between(high, low) : below && line ? between(line, below) : '';
    if (area) drawn.push(`<path d="${area}" fill="${one.colour}" fill-opacity="${stacked ? 0.5 : 0.18}"/>`);
    for (const piece of raw ? pieces(data[0], raw) : [])
      drawn.push(`<path d="M${through(piece)}" fill="none" stroke="${one.colour}" stroke-opacity="0.3"/>`);
    const dash = one.dash ? ` stroke-dasharray="${one.dash.join(' ')}"` : '';
    for (const piece of line ? pieces(data[0], line) : []) {
      if (piece.length > 1)
        drawn.push(`<path d="M${through(piece)}" fill="none" stroke="${one.colour}" stroke-width="2"${dash}/>`);
      if (!stacked && piece.length <= 60)
        for (const [x, y] of piece)
          drawn.push(`<circle cx="${short(to.x(x))}" cy="${short(to.y(y))}" r="2.5" fill="${one.colour}"/>`);
    }
    return drawn;
  });
}

/**
 * @param {Drawing} drawing
 * @returns {{ svg: string, width: number, height: number }}
 */
export function chartSvg(drawing) {
  const { title, full } = drawing;
  const legendTop = PLOT_TOP + PLOT_HEIGHT + 64;
  const height = legendTop + LINE * full.length + 6;
  const legend = full.map((one, i) => {
    const y = legendTop + LINE * i;
    const dash = one.dash ? ` stroke-dasharray="${one.dash.join(' ')}"` : '';
    return (
      `<line x1="${LEFT}" x2="${LEFT + 22}" y1="${y}" y2="${y}" stroke="${one.colour}" stroke-width="3"${dash}/>` +
      `<text x="${LEFT + 30}" y="${y}" dy="0.35em" fill="${token('--ink')}">${escaped(one.label)}</text>`
    );
  });
  const box = `x="${LEFT}" y="${PLOT_TOP}" width="${WIDTH - LEFT - RIGHT}" height="${PLOT_HEIGHT}"`;
  const svg = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" ` +
      `font-family="${FONT}" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="${token('--surface')}"/>`,
    `<clipPath id="plot"><rect ${box}/></clipPath>`,
    `<text x="${LEFT}" y="26" font-size="16" font-weight="600" fill="${token('--ink')}">${escaped(title)}</text>`,
    ...axes(drawing),
    '<g clip-path="url(#plot)">',
    ...curves(drawing),
    '</g>',
    ...legend,
    '</svg>',
  ].join('\n');
  return { svg, width: WIDTH, height };
}
