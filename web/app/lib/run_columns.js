// The columns that a list of runs may have, and those that this browser shows.
import { percent } from './format.js';
import { STATES, startOf } from './runs.js';
import { stored } from './stored.js';
import { tagText } from './tags.js';

/**
 * `by`: what it is sorted by. `text`: its words, where nothing is drawn. `width`: its track of the grid.
 * @typedef {{
 *   name: string, title: string, by?: (run: Api['RunEntry']) => string | number,
 *   text?: (run: Api['RunEntry']) => string,
 *   width: string,
 * }} Column
 */

const WORDS = 'minmax(0, 1fr)';

/** @param {string | null | undefined} text */
const low = (text) => (text ?? '').toLowerCase();

/** @param {Api['RunEntry']} run */
export const tagsText = (run) =>
  Object.entries(run.tags ?? {})
    .map(([name, value]) => tagText(name, value))
    .join(', ');

/** The name is always there. @type {Column} */
export const NAME = { name: 'name', title: 'Run', by: (run) => low(run.name), width: 'minmax(190px, 2.4fr)' };

/** @type {Column[]} */
export const CHOICES = [
  { name: 'state', title: 'State', by: (run) => STATES.indexOf(run.state), width: '128px' },
  {
    name: 'progress',
    title: 'Progress',
    by: (run) => (run.last_step ?? -1) / (run.steps || 1),
    width: 'minmax(150px, 1.5fr)',
  },
  { name: 'reward', title: 'Reward', width: 'minmax(80px, 1fr)' },
  { name: 'accuracy', title: 'Accuracy', by: (run) => run.best_accuracy ?? -1, width: 'minmax(130px, 1.3fr)' },
  {
    name: 'last',
    title: 'Last accuracy',
    by: (run) => run.last_accuracy ?? -1,
    text: (run) => percent(run.last_accuracy),
    width: '96px',
  },
  { name: 'method', title: 'Method', by: (run) => low(run.method), text: (run) => run.method, width: WORDS },
  { name: 'model', title: 'Model', by: (run) => low(startOf(run)), text: startOf, width: WORDS },
  { name: 'dataset', title: 'Data set', by: (run) => low(run.dataset), text: (run) => run.dataset, width: WORDS },
  { name: 'tags', title: 'Tags', by: (run) => low(tagsText(run)), text: tagsText, width: WORDS },
  { name: 'notes', title: 'Notes', by: (run) => low(run.notes), text: (run) => run.notes ?? '', width: WORDS },
  { name: 'project', title: 'Project', by: (run) => low(run.project), text: (run) => run.project, width: WORDS },
  {
    name: 'by',
    title: 'Submitted by',
    by: (run) => low(run.created_by),
    text: (run) => run.created_by ?? '',
    width: WORDS,
  },
  { name: 'created', title: 'Started', by: (run) => run.created_at, width: '96px' },
];

const USUAL = ['state', 'progress', 'reward', 'accuracy', 'created'];

const kept = stored('vgpo.run-columns', USUAL, (value) =>
  Array.isArray(value) ? value.filter((name) => CHOICES.some((one) => one.name === name)) : null,
);

/** The columns that are shown, in their order. */
export const shownColumns = () => CHOICES.filter(({ name }) => kept.value.value.includes(name));

/** @param {string} name */
export function flipColumn(name) {
  const now = kept.value.value;
  kept.keep(now.includes(name) ? now.filter((one) => one !== name) : [...now, name]);
}

/** @param {Column[]} columns */
export const tracks = (columns) => ['44px', ...[NAME, ...columns].map(({ width }) => width)].join(' ');
