// Colour maps (viridis and inferno of matplotlib, PuOr of ColorBrewer; all safe for colour-blind eyes) and the theme.
import { signal } from './html.js';

/** @typedef {[red: number, green: number, blue: number]} Rgb */

/** @type {Record<ColourMap, string>} */
const STOPS = {
  viridis:
    '440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c ' +
    '1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725',
  inferno:
    '000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 ' +
    'd24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4',
  diverging:
    '2d004b 461a70 5f3d8f 7b67a8 998ebf b5b0d4 cecde4 e3e4ee f3eeea ' +
    'fbe7cd fdd5a0 fabb6e ee9d3d d97e1a be630b 9f4e07 7f3b08',
};

const tables = /** @type {Record<ColourMap, Rgb[]>} */ (
  Object.fromEntries(
    Object.entries(STOPS).map(([name, text]) => [
      name,
      text.split(' ').map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16))),
    ]),
  )
);

/**
 * [r, g, b] of a map at 0 … 1.
 * @param {ColourMap} name
 * @param {number} at
 * @returns {Rgb}
 */
export function rgb(name, at) {
  const table = tables[name];
  const place = Math.min(Math.max(at || 0, 0), 1) * (table.length - 1);
  const low = Math.min(Math.floor(place), table.length - 2);
  const [from, to] = [table[low], table[low + 1]];
  /** @param {0 | 1 | 2} i */
  const mix = (i) => Math.round(from[i] + (to[i] - from[i]) * (place - low));
  return [mix(0), mix(1), mix(2)];
}

/**
 * @param {ColourMap} name
 * @param {number} at
 */
export const css = (name, at) => `rgb(${rgb(name, at).join(' ')})`;

/**
 * Black or white, whichever reads better on it.
 * @param {Rgb} colour
 */
export function ink([r, g, b]) {
  /** @param {number} v */
  const linear = (v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.18 ? '#0b0d10' : '#ffffff';
}

// ---- Theme

const system = matchMedia('(prefers-color-scheme: dark)');
const read = () => document.documentElement.dataset.theme || (system.matches ? 'dark' : 'light');

/** `light` or `dark`, as it is shown. */
export const theme = signal(read());
system.addEventListener('change', () => {
  theme.value = read();
});

export function toggleTheme() {
  const next = theme.value === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem('vgpo.theme', next);
  } catch {
    /* not kept, then */
  }
  theme.value = next;
}

/**
 * A colour of the design by its custom property.
 * @param {string} name
 */
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * The n-th colour of series.
 * @param {number} n
 */
export const series = (n) => token(`--series-${(n % 8) + 1}`);
