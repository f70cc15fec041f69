// Does an answer depend on the image, and on the cells that it attended to? Read again with cells hidden.
import { post } from './api.js';
import { number } from './format.js';

/** The share of the cells that is hidden at once. */
const SHARE = 0.25;
/** Draws of random cells: what chance does is known by its spread. */
export const DRAWS = 8;
/** An answer that stays more than half as likely without the image hardly depends on it (in nats). */
const HARDLY = Math.log(2);

/**
 * Changes of the answer's log-prob. `tokens`: with the whole image hidden, token by token. `random`: of every draw.
 * @typedef {{ tokens: number[], whole: number, top?: number, random: number[] }} Dependence
 */

/** @param {number[]} values */
const sum = (values) => values.reduce((total, value) => total + value, 0);

/**
 * Reads an answer with its image hidden, with the cells hidden that it attended to most, and with random cells hidden;
 * `onPart` hears what is known so far.
 * @param {object} asked model, prompt or messages, images, and the answer as the only response
 * @param {(part: Dependence) => void} onPart
 * @param {AbortSignal} signal
 */
export async function dependence(asked, onPart, signal) {
  /** @param {Api['Ablate']} ablate */
  const read = async (ablate) => {
    const answer = await post('/v1/score', /** @type {any} */ ({ ...asked, ablate }), { signal });
    return answer.responses[0].tokens.map((token) => token.delta_logprob ?? 0);
  };
  const tokens = await read('image');
  /** @type {Dependence} */
  let found = { tokens, whole: sum(tokens), random: [] };
  onPart(found);
  found = { ...found, top: sum(await read({ top_patches: SHARE })) };
  for (let seed = 1; seed <= DRAWS; seed += 1) {
    found = { ...found, random: [...found.random, sum(await read({ random_patches: SHARE, seed }))] };
    onPart(found);
  }
}

/** @param {number[]} values */
export function spreadOf(values) {
  const mean = sum(values) / values.length;
  const squares = sum(values.map((value) => (value - mean) ** 2));
  return { mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

/**
 * What the numbers say, in a sentence; null while some are missing.
 * @param {Dependence} found
 * @returns {string | null}
 */
export function verdict({ whole, top, random }) {
  if (whole > -HARDLY) {
    const without = whole > 0 ? 'more likely' : `${number(Math.exp(-whole))} times less likely`;
    return `Hiding the whole image makes this answer ${without}: it hardly depends on the image.`;
  }
  if (top === undefined || random.length < DRAWS) return null;
  const { mean } = spreadOf(random);
  const worse = random.filter((one) => one <= top).length;
  if (worse === 0)
    return `Hiding what it attended to hurt more than each of ${random.length} draws of random cells: faithful here.`;
  if (top >= mean) return 'Hiding what it attended to hurt no more than random cells do on average: not faithful here.';
  return (
    `Hiding what it attended to hurt more than random cells on average, but ${worse} of ${random.length} draws ` +
    'hurt as much: undecided here.'
  );
}
