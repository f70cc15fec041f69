// Where each token's attention goes, from the first to the last: to the image, the question, the response itself.
import { series as colourOf } from './colour.js';

/** @type {[key: keyof Api['Shares'], label: string][]} */
const PARTS = [
  ['image', 'image'],
  ['query', 'question'],
  ['generated', 'own text'],
];

/** Shares fill their axis. @returns {[number, number]} */
export const WHOLE = () => [0, 1];

/**
 * Series of a chart along a response.
 * @param {{ attention: Api['Shares'] }[]} tokens
 * @returns {Series[]}
 */
export const sharesAlong = (tokens) =>
  PARTS.map(([key, label], n) => ({
    label,
    colour: colourOf(n),
    x: tokens.map((_, i) => i + 1),
    y: tokens.map((token) => token.attention[key]),
  }));
