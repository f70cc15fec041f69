// Numbers, times and names for people.

/**
 * @param {unknown} value
 * @returns {value is number}
 */
const finite = (value) => typeof value === 'number' && Number.isFinite(value);

// Formats are made once: making one costs more than a hundred uses.
const WHOLE = new Intl.NumberFormat('en');
const DIGITS = Array.from(
  { length: 22 },
  (_, n) => new Intl.NumberFormat('en', { maximumSignificantDigits: Math.min(21, Math.max(1, n)) }),
);
const CLOCK = new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' });
const MOMENT = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short', hourCycle: 'h23' });

/**
 * A number with as many digits as help.
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function number(value, digits = 3) {
  if (!finite(value)) return '–';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 1e6 || size < 1e-3) return value.toExponential(Math.max(0, digits - 2)).replace('e+', 'e');
  if (Number.isInteger(value)) return WHOLE.format(value);
  return DIGITS[Math.max(digits, Math.ceil(Math.log10(size + 1)))].format(value);
}

/**
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export const percent = (value, digits = 1) => (finite(value) ? `${(value * 100).toFixed(digits)}%` : '–');

/**
 * A plain number, as charts write it.
 * @param {number | null | undefined} value
 */
export const plain = (value) => number(value);

/** @param {number | null | undefined} value */
export function bytes(value) {
  if (!finite(value)) return '–';
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** @param {number | null | undefined} value */
export function count(value) {
  if (!finite(value)) return '–';
  return value >= 1e9
    ? `${(value / 1e9).toFixed(1)} B`
    : value >= 1e6
      ? `${(value / 1e6).toFixed(1)} M`
      : WHOLE.format(value);
}

/**
 * Seconds as `2 h 05 m`.
 * @param {number | null | undefined} seconds
 */
export function duration(seconds) {
  if (!finite(seconds) || seconds < 0) return '–';
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${String(Math.round(seconds % 60) % 60).padStart(2, '0')} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, '0')} m`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/**
 * @param {string | null | undefined} time
 * @param {number} [now]
 */
export function ago(time, now = Date.now()) {
  const seconds = (now - Date.parse(time ?? '')) / 1000;
  if (!finite(seconds)) return '–';
  if (seconds < 5) return 'just now';
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/** @param {string} time */
export const clock = (time) => CLOCK.format(new Date(time));
/** @param {string | null | undefined} time */
export const moment = (time) => (time ? MOMENT.format(new Date(time)) : '–');

/**
 * `run_019ab…42f` of a long id.
 * @param {string | null | undefined} id
 */
export const shortId = (id) =>
  id && id.length > 20 ? `${id.slice(0, id.indexOf('_') + 1)}…${id.slice(-6)}` : id || '–';

/**
 * By its unit.
 * @param {number | null | undefined} value
 * @param {string} [unit]
 */
export function inUnit(value, unit) {
  if (!finite(value)) return '–';
  if (unit === 'share') return percent(value);
  if (unit === 's') return duration(value);
  if (unit === 'bytes') return bytes(value);
  return unit === '1' || !unit ? number(value) : `${number(value)} ${unit}`;
}

/**
 * Wilson's 95% interval of a share.
 * @param {number | null} share
 * @param {number | null | undefined} rows
 * @returns {[low: number, high: number] | null}
 */
export function wilson(share, rows) {
  if (!finite(share) || !finite(rows) || rows <= 0) return null;
  const z = 1.96,
    n = rows,
    d = 1 + (z * z) / n;
  const middle = (share + (z * z) / (2 * n)) / d;
  const half = (z / d) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
