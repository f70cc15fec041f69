// Comparisons of runs by name. This browser keeps them: they are its reader's notes, and no server knows them.
import { stored } from './stored.js';

/** @typedef {{ name: string, runs: string[], keys: string | undefined }} Comparison */

/** Comparisons that are kept at once. */
const MOST = 100;

/** @param {any} one @returns {one is Comparison} */
const sound = (one) => typeof one?.name === 'string' && Array.isArray(one.runs) && one.runs.length > 0;

const kept = stored('vgpo.comparisons', /** @type {Comparison[]} */ ([]), (value) =>
  Array.isArray(value) ? value.filter(sound) : null,
);

/** Newest first. */
export const comparisons = kept.value;

/**
 * One of the same name makes room.
 * @param {Comparison} comparison
 */
export const saveComparison = (comparison) =>
  kept.keep([comparison, ...comparisons.value.filter(({ name }) => name !== comparison.name)].slice(0, MOST));

/** @param {string} name */
export const dropComparison = (name) => kept.keep(comparisons.value.filter((one) => one.name !== name));
