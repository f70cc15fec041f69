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
 * A run of a list, or the head of a sweep's runs.
 * @typedef {{ run: Api['RunEntry'], sweep?: undefined, inside: boolean }} RunItem
 * @typedef {{ run?: undefined, sweep: string, runs: Api['RunEntry'][] }} SweepItem
 * @typedef {RunItem | SweepItem} Item
 */

/**
 * Runs with those of a sweep together, where the first of them is; a closed sweep shows its head alone.
 * @param {Api['RunEntry'][]} list
 * @param {(sweep: string) => boolean} isOpen
 * @returns {Item[]}
 */
export function grouped(list, isOpen) {
  /** @type {Map<string, Api['RunEntry'][]>} */
  const members = new Map();
  for (const run of list) if (run.sweep) members.set(run.sweep.id, [...(members.get(run.sweep.id) ?? []), run]);
  const told = new Set();
  return list.flatMap((run) => {
    const id = run.sweep?.id;
    if (id === undefined) return [{ run, inside: false }];
    if (told.has(id)) return [];
    told.add(id);
    const runs = members.get(id) ?? [];
    return [{ sweep: id, runs }, ...(isOpen(id) ? runs.map((one) => ({ run: one, inside: true })) : [])];
  });
}

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
