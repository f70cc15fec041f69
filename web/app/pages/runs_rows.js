// The rows of the list of runs: only those in view exist, and the page itself scrolls.
import { html, memo, useLayoutEffect, useMemo, useRef, useState } from '../lib/html.js';
import { timeLeft } from '../lib/effort.js';
import { effortOf, isFinal, lookOf, spark, startOf } from '../lib/runs.js';
import { ago, duration, moment, percent } from '../lib/format.js';
import { href, setQuery } from '../lib/router.js';
import { series } from '../lib/colour.js';
import { NAME, tracks } from '../lib/run_columns.js';
import { settingsText, statesText } from '../lib/sweeps.js';
import { Badge, Progress, useNow } from '../parts/common.js';
import { Sparkline } from '../parts/sparkline.js';
import { Icon } from '../parts/icon.js';

/**
 * @typedef {Api['RunEntry']} Run
 * @typedef {import('../lib/run_columns.js').Column} Column
 */

/** @param {number} n */
export const counted = (n) => `${n.toLocaleString('en')} ${n === 1 ? 'run' : 'runs'}`;

/**
 * `choose`: makes runs chosen, or no longer.
 * @param {{
 *   list: import('../lib/groups.js').Item[], kind: import('../lib/groups.js').Kind | null, columns: Column[],
 *   names: Api['SweepEntry'][] | undefined, chosen: Set<string>, choose: (ids: string[], on: boolean) => void,
 *   fold: (key: string) => void, isOpen: (key: string) => boolean, query: PageProps['query'],
 * }} props
 */
export function Rows({ list: rows, kind, columns, names, chosen, choose, fold, isOpen, query }) {
  const body = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [view, setView] = useState({ from: 0, to: 30, height: 64 });
  useLayoutEffect(() => {
    const look = () => {
      if (!body.current) return;
      const height = matchMedia('(max-width: 760px)').matches ? 132 : 64;
      const top = -body.current.getBoundingClientRect().top;
      const from = Math.max(0, Math.floor(top / height) - 6);
      const to = Math.min(rows.length, Math.ceil((top + innerHeight) / height) + 6);
      setView((old) => (old.from === from && old.to === to && old.height === height ? old : { from, to, height }));
    };
    look();
    addEventListener('scroll', look, { passive: true });
    addEventListener('resize', look);
    return () => {
      removeEventListener('scroll', look);
      removeEventListener('resize', look);
    };
  }, [rows.length]);
  const now = useNow();
  const { sort = 'created', down = '1' } = query;
  /** @param {string} name */
  const order = (name) => setQuery({ sort: name, down: sort === name && down === '1' ? '0' : '1' });
  const shown = useMemo(
    () => [...new Set(rows.flatMap((item) => (item.run ? [item.run.id] : item.runs.map(({ id }) => id))))],
    [rows],
  );
  const all = shown.length > 0 && shown.every((id) => chosen.has(id));
  const style = { '--tracks': tracks(columns) };
  return html`<div class="runs card" role="table" aria-label="Runs" aria-rowcount=${rows.length + 1} style=${style}>
    <div class="runs-head" role="row" aria-rowindex=${1}>
      <span role="columnheader" class="c-check">
        <input
          type="checkbox"
          aria-label="Choose all that are shown"
          checked=${all}
          indeterminate=${!all && shown.some((id) => chosen.has(id))}
          onChange=${() => choose(shown, !all)}
        />
      </span>
      ${[NAME, ...columns].map(
        ({ name, title, by }) => html`<span
          key=${name}
          role="columnheader"
          class=${`c-${name}`}
          aria-sort=${sort === name ? (down === '1' ? 'descending' : 'ascending') : undefined}
        >
          ${
            by
              ? html`<button onClick=${() => order(name)}>
                ${title}
                ${sort === name ? (down === '1' ? ' ↓' : ' ↑') : ''}
              </button>`
              : title
          }
        </span>`,
      )}
    </div>
    <div class="runs-body" role="rowgroup" ref=${body} style=${{ height: `${rows.length * view.height}px` }}>
      ${rows.slice(view.from, view.to).map((item, i) =>
        item.run
          ? html`<${Row}
            key=${item.run.id}
            run=${item.run}
            inside=${item.inside && kind === 'sweep'}
            columns=${columns}
            now=${now}
            index=${view.from + i}
            height=${view.height}
            chosen=${chosen.has(item.run.id)}
            choose=${choose}
          />`
          : html`<${GroupRow}
            key=${item.key}
            group=${item}
            kind=${kind}
            name=${kind === 'sweep' ? (names?.find((one) => one.id === item.key)?.name ?? 'sweep') : item.key}
            columns=${columns}
            open=${isOpen(item.key)}
            fold=${fold}
            chosen=${item.runs.filter(({ id }) => chosen.has(id)).length}
            choose=${choose}
            index=${view.from + i}
            height=${view.height}
          />`,
      )}
    </div>
  </div>`;
}

/**
 * The head of runs that belong together. `chosen`: how many of them are.
 * @param {{
 *   group: import('../lib/groups.js').GroupItem, kind: import('../lib/groups.js').Kind | null, name: string,
 *   columns: Column[], open: boolean, fold: (key: string) => void, chosen: number,
 *   choose: (ids: string[], on: boolean) => void, index: number, height: number,
 * }} props
 */
function GroupRow({ group, kind, name, columns, open, fold, chosen, choose, index, height }) {
  const { key, runs } = group;
  const best = Math.max(...runs.map((run) => run.best_accuracy ?? -1));
  const all = chosen === runs.length;
  return html`<div
    class="run-row group-row"
    role="row"
    aria-rowindex=${index + 2}
    style=${{ top: `${index * height}px`, height: `${height}px` }}
  >
    <span role="cell" class="c-check">
      <input
        type="checkbox"
        aria-label=${`Choose the runs of ${name}`}
        checked=${all}
        indeterminate=${chosen > 0 && !all}
        onChange=${() =>
          choose(
            runs.map(({ id }) => id),
            !all,
          )}
      />
    </span>
    <span role="cell" class="c-name">
      <button class="icon" aria-expanded=${open} aria-label=${`Runs of ${name}`} onClick=${() => fold(key)}>
        <${Icon} name=${open ? 'down' : 'right'} />
      </button>
      <span>
        ${kind === 'sweep' ? html`<a href=${href(['sweeps', key])}>${name}</a>` : html`<b>${name}</b>`}
        <small>
          ${kind === 'sweep' ? 'sweep of ' : ''}${counted(runs.length)} · ${statesText(runs.map((run) => run.state))}
        </small>
      </span>
    </span>
    ${columns.map(
      ({ name: column }) => html`<span key=${column} role="cell" class=${`c-${column}`}>
        ${column === 'accuracy' && best >= 0 && html`<b>${percent(best)}</b>`}
      </span>`,
    )}
  </div>`;
}

/**
 * @typedef {{
 *   run: Run, inside: boolean, columns: Column[], index: number, height: number, chosen: boolean,
 *   choose: (ids: string[], on: boolean) => void, now: number,
 * }} RowProps
 */

/** Rows that were there before are not drawn again while people scroll. */
const Row = memo((/** @type {RowProps} */ { run, inside, columns, index, height, chosen, choose, now }) => {
  // Names of a sweep's runs begin alike: what tells them apart must not be cut.
  const own = run.sweep ? settingsText(run.sweep.settings) : '';
  const small = spark(run.id).value;
  return html`<div
    class=${`run-row ${chosen ? 'chosen' : ''} ${inside ? 'inside' : ''}`}
    role="row"
    aria-rowindex=${index + 2}
    style=${{ top: `${index * height}px`, height: `${height}px` }}
  >
    <span role="cell" class="c-check">
      <input
        type="checkbox"
        aria-label=${`Choose ${run.name}`}
        checked=${chosen}
        onChange=${() => choose([run.id], !chosen)}
      />
    </span>
    <span role="cell" class="c-name">
      <a href=${href(['runs', run.id])} title=${run.name}>${inside && own ? own : run.name}</a>
      <small>
        ${own && !inside && html`<b>${own}</b> · `}<b>${run.method}</b> · ${startOf(run)} · ${run.dataset}
      </small>
    </span>
    ${columns.map(
      ({ name, text }) => html`<span key=${name} role="cell" class=${`c-${name}`}>
        ${text ? html`<span class="words" title=${text(run)}>${text(run)}</span>` : drawn(name, run, small, now)}
      </span>`,
    )}
  </div>`;
});

/**
 * A cell that is more than words.
 * @param {string} column
 * @param {Run} run
 * @param {import('../lib/runs.js').Sparks | null} small
 * @param {number} now
 */
function drawn(column, run, small, now) {
  if (column === 'state') return html`<${Badge} state=${run.state} />`;
  if (column === 'progress') return html`<${Work} run=${run} small=${small} />`;
  if (column === 'reward') {
    const reward = small?.['reward/mean'] ?? small?.['loss/policy'];
    return html`<${Sparkline} points=${reward} colour=${series(1)} label=${`Reward of ${run.name}`} />`;
  }
  if (column === 'accuracy') {
    const held = small?.['eval/accuracy'] ?? [];
    const accuracy = held.length > 1 ? held : small?.accuracy;
    return html`
      <${Sparkline} points=${accuracy} colour=${series(0)} label=${`Accuracy of ${run.name}`} />
      <b>${percent(run.best_accuracy)}</b>
    `;
  }
  return html`<time datetime=${run.created_at} title=${moment(run.created_at)}>${ago(run.created_at, now)}</time>`;
}

/** @param {{ run: Run, small: import('../lib/runs.js').Sparks | null }} props */
function Work({ run, small }) {
  const { worked, pace } = effortOf(small);
  const left = timeLeft(run, pace);
  const share = run.steps ? (run.last_step ?? 0) / run.steps : 0;
  return html`
    <${Progress} value=${share} label=${`Progress of ${run.name}`} look=${lookOf(run.state)} />
    <small>
      ${run.last_step ?? 0} / ${run.steps}
      ${
        left !== null
          ? ` · ${duration(left)} left`
          : isFinal(run.state) && worked !== null
            ? ` · took ${duration(worked)}`
            : ''
      }
    </small>
  `;
}
