// Sweeps: runs that differ in a few settings only.
import { show } from './settings.js';

/**
 * The settings that tell a run from the others of its sweep, short: `beta 0.3 · seed 1`.
 * @param {Record<string, unknown>} settings
 */
export const settingsText = (settings) =>
  Object.entries(settings)
    .map(([pointer, value]) => `${pointer.split('/').at(-1)} ${show(value)}`)
    .join(' · ');

/**
 * How many runs are in each state, in words.
 * @param {Iterable<string>} states
 */
export function statesText(states) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const state of states) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
}
