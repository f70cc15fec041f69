// Runs of a list together by what they have in common.

/**
 * A run of a list, or the head of a group.
 * @typedef {{ run: Api['RunEntry'], key?: undefined, inside: boolean }} RunItem
 * @typedef {{ run?: undefined, key: string, runs: Api['RunEntry'][] }} GroupItem
 * @typedef {RunItem | GroupItem} Item
 * @typedef {'sweep' | 'method' | 'model' | 'dataset'} Kind
 */

/** @type {[kind: Kind, text: string][]} */
export const KINDS = [
  ['sweep', 'by sweep'],
  ['method', 'by method'],
  ['model', 'by model'],
  ['dataset', 'by data set'],
];

/**
 * The group that a run is in; undefined: none.
 * @param {Kind} kind
 * @param {Api['RunEntry']} run
 */
const keyOf = (kind, run) => (kind === 'sweep' ? run.sweep?.id : run[kind]);

/**
 * Runs with those of a group together, where the first of them is; a closed group shows its head alone.
 * @param {Api['RunEntry'][]} list
 * @param {Kind} kind
 * @param {(key: string) => boolean} isOpen
 * @returns {Item[]}
 */
export function grouped(list, kind, isOpen) {
  /** @type {Map<string, Api['RunEntry'][]>} */
  const members = new Map();
  for (const run of list) {
    const key = keyOf(kind, run);
    if (key === undefined) continue;
    const known = members.get(key);
    if (known) known.push(run);
    else members.set(key, [run]);
  }
  const told = new Set();
  return list.flatMap((run) => {
    const key = keyOf(kind, run);
    if (key === undefined) return [{ run, inside: false }];
    if (told.has(key)) return [];
    told.add(key);
    const runs = members.get(key) ?? [];
    return [{ key, runs }, ...(isOpen(key) ? runs.map((one) => ({ run: one, inside: true })) : [])];
  });
}
