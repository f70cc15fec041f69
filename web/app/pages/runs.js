// Every run: live, filtered, sorted; thousands stay smooth because only what is seen is drawn.
import { html, memo, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../lib/html.js';
import { list } from '../lib/api.js';
import { timeLeft } from '../lib/effort.js';
import { epoch } from '../lib/live.js';
import { effortOf, failure, isFinal, load, lookOf, runs, spark, STATES } from '../lib/runs.js';
import { ago, duration, moment, percent } from '../lib/format.js';
import { go, href, setQuery } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { series } from '../lib/colour.js';
import { grouped, settingsText, statesText } from '../lib/sweeps.js';
import { Badge, Empty, Failure, Loading, Progress, useLoad, useNow } from '../parts/common.js';
import { Sparkline } from '../parts/sparkline.js';
import { Icon } from '../parts/icon.js';

/** @typedef {Api['RunEntry']} Run */

/** @type {[name: string, text: string, by: ((run: Run) => string | number) | null][]} */
const COLUMNS = [
  ['name', 'Run', (run) => run.name.toLowerCase()],
  ['state', 'State', (run) => STATES.indexOf(run.state)],
  ['progress', 'Progress', (run) => (run.last_step ?? -1) / (run.steps || 1)],
  ['reward', 'Reward', null],
  ['accuracy', 'Accuracy', (run) => run.best_accuracy ?? -1],
  ['created', 'Started', (run) => run.created_at],
];

/** @type {WeakMap<Run, string>} */
const texts = new WeakMap();

/**
 * What a filter looks into; made once for a run as it is.
 * @param {Run} run
 */
function textOf(run) {
  const known = texts.get(run);
  if (known !== undefined) return known;
  const tags = Object.entries(run.tags || {}).map(([k, v]) => `${k}:${v}`);
  const text = [run.id, run.name, run.model, run.dataset, run.method, run.project, ...tags].join(' ').toLowerCase();
  texts.set(run, text);
  return text;
}

/**
 * @param {Run[]} all
 * @param {PageProps['query']} query
 */
function shown(all, { q = '', state = '', method = '', sort = 'created', down = '1' }) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = all.filter((run) => {
    if (state === 'active' ? isFinal(run.state) : state && run.state !== state) return false;
    if (method && run.method !== method) return false;
    return words.length === 0 || words.every((word) => textOf(run).includes(word));
  });
  const by = COLUMNS.find(([name]) => name === sort)?.[2] ?? ((run) => run.created_at);
  const sign = down === '1' ? -1 : 1;
  return wanted.sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    return x < y ? -sign : x > y ? sign : a.id < b.id ? 1 : -1;
  });
}

/**
 * A set with one member more, or less.
 * @param {Set<string>} old
 * @param {string} id
 */
function flipped(old, id) {
  const next = new Set(old);
  if (!next.delete(id)) next.add(id);
  return next;
}

/** @param {number} n */
const counted = (n) => `${n.toLocaleString('en')} ${n === 1 ? 'run' : 'runs'}`;

/** @param {PageProps} props */
export default function Runs({ query }) {
  const [chosen, setChosen] = useState(() => /** @type {Set<string>} */ (new Set()));
  const all = runs.value;
  useEffect(() => {
    document.title = 'Runs · VGPO';
    if (!all) load();
  }, []);
  const some = useMemo(() => (all ? shown(all, query) : []), [all, JSON.stringify(query)]);
  const methods = useMemo(() => [...new Set((all || []).map((run) => run.method))].sort(), [all]);
  const sweeps = useMemo(() => (all ?? []).some((run) => run.sweep), [all]);
  const together = sweeps && query.group !== '0';
  const [names] = useLoad(
    async (signal) => (sweeps ? list('/v1/sweeps', { most: 1000, signal }) : []),
    [sweeps, epoch.value],
  );
  const [open, setOpen] = useState(() => /** @type {Set<string>} */ (new Set()));
  const items = useMemo(
    () =>
      together ? grouped(some, (id) => open.has(id) || Boolean(query.q)) : some.map((run) => ({ run, inside: false })),
    [some, together, open, query.q],
  );
  const fold = useCallback((/** @type {string} */ id) => setOpen((old) => flipped(old, id)), []);
  const toggle = useCallback((/** @type {string} */ id) => setChosen((old) => flipped(old, id)), []);
  if (!all && failure.value) return html`<${Failure} error=${failure.value} again=${load} />`;
  const active = (all || []).filter((run) => !isFinal(run.state)).length;
  return html`
    <div class="head">
      <div class="grow">
        <h1>Runs</h1>
        <p class="muted">
          ${all ? `${counted(all.length)}, ${active} active or queued` : '…'}
        </p>
      </div>
      ${chosen.size > 0 && html`<button onClick=${() => setChosen(new Set())}>Clear selection</button>`}
      ${
        all &&
        all.length > 1 &&
        html`<button
          class=${`compare ${chosen.size > 1 ? 'primary' : ''}`}
          disabled=${chosen.size < 1}
          onClick=${() => go(['compare'], { runs: [...chosen].join(',') })}
        >
          Compare${chosen.size > 0 ? ` ${chosen.size}` : ''}
        </button>`
      }
      ${
        refusal() === null &&
        html`<a class=${`button ${chosen.size > 1 ? '' : 'primary'}`} href="#/new"><${Icon} name="plus" />New job</a>`
      }
    </div>
    ${
      all?.length !== 0 &&
      html`<div class="toolbar" role="search">
        <input
          type="search"
          class="grow"
          placeholder="Name, model, data set, tag, id …"
          aria-label="Filter runs"
          value=${query.q || ''}
          onInput=${(e) => setQuery({ q: e.currentTarget.value })}
        />
        <select
          aria-label="State"
          value=${query.state || ''}
          onChange=${(e) => setQuery({ state: e.currentTarget.value })}
        >
          <option value="">any state</option>
          <option value="active" selected=${query.state === 'active'}>not ended</option>
          ${STATES.map((state) => html`<option value=${state} selected=${query.state === state}>${state}</option>`)}
        </select>
        <select
          aria-label="Method"
          value=${query.method || ''}
          onChange=${(e) => setQuery({ method: e.currentTarget.value })}
        >
          <option value="">any method</option>
          ${methods.map((name) => html`<option value=${name} selected=${query.method === name}>${name}</option>`)}
        </select>
        <select
          class="phone-only"
          aria-label="Sort by"
          onChange=${(e) => setQuery({ sort: e.currentTarget.value })}
        >
          ${COLUMNS.filter(([, , by]) => by).map(
            ([name, text]) => html`<option value=${name} selected=${(query.sort || 'created') === name}>
              by ${text.toLowerCase()}
            </option>`,
          )}
        </select>
        ${
          sweeps &&
          html`
            <label class="inline">
              <input
                type="checkbox"
                checked=${together}
                onChange=${(e) => setQuery({ group: e.currentTarget.checked ? '' : '0' })}
              />
              by sweep
            </label>
            <a href="#/sweeps">All sweeps</a>
          `
        }
      </div>`
    }
    ${
      !all
        ? html`<${Loading} what="Reading the runs" height=${300} />`
        : all.length === 0
          ? html`<${Empty} icon="play" title="No runs yet">
            <p>A run holds the curves, samples and checkpoints of a job.</p>
            ${refusal() === null && html`<a class="button primary" href="#/new">Start the first job</a>`}
          </${Empty}>`
          : some.length === 0
            ? html`<${Empty} title="No runs match">
              <button onClick=${() => setQuery({ q: '', state: '', method: '' })}>Clear the filter</button>
            </${Empty}>`
            : html`<${Rows}
              list=${items}
              names=${names}
              chosen=${chosen}
              toggle=${toggle}
              fold=${fold}
              open=${open}
              query=${query}
            />`
    }
  `;
}

/**
 * Only the rows in view exist; the page itself scrolls.
 * @param {{
 *   list: import('../lib/sweeps.js').Item[], names: Api['SweepEntry'][] | undefined, chosen: Set<string>,
 *   toggle: (id: string) => void, fold: (id: string) => void, open: Set<string>, query: PageProps['query'],
 * }} props
 */
function Rows({ list: rows, names, chosen, toggle, fold, open, query }) {
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
  return html`<div class="runs card" role="table" aria-label="Runs" aria-rowcount=${rows.length + 1}>
    <div class="runs-head" role="row" aria-rowindex=${1}>
      <span role="columnheader"><span class="sr">Compare</span></span>
      ${COLUMNS.map(
        ([name, text, by]) => html`<span
          role="columnheader"
          class=${`c-${name}`}
          aria-sort=${sort === name ? (down === '1' ? 'descending' : 'ascending') : undefined}
        >
          ${
            by
              ? html`<button onClick=${() => order(name)}>
                ${text}
                ${sort === name ? (down === '1' ? ' ↓' : ' ↑') : ''}
              </button>`
              : text
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
            inside=${item.inside}
            now=${now}
            index=${view.from + i}
            height=${view.height}
            chosen=${chosen.has(item.run.id)}
            toggle=${toggle}
          />`
          : html`<${SweepRow}
            key=${item.sweep}
            id=${item.sweep}
            name=${names?.find((one) => one.id === item.sweep)?.name ?? 'sweep'}
            runs=${item.runs}
            open=${open.has(item.sweep)}
            fold=${fold}
            index=${view.from + i}
            height=${view.height}
          />`,
      )}
    </div>
  </div>`;
}

/**
 * The head of a sweep's runs.
 * @param {{
 *   id: string, name: string, runs: Run[], open: boolean, fold: (id: string) => void, index: number, height: number,
 * }} props
 */
function SweepRow({ id, name, runs: members, open, fold, index, height }) {
  const best = Math.max(...members.map((run) => run.best_accuracy ?? -1));
  return html`<div
    class="run-row sweep-row"
    role="row"
    aria-rowindex=${index + 2}
    style=${{ top: `${index * height}px`, height: `${height}px` }}
  >
    <span role="cell" class="c-check">
      <button
        class="icon"
        aria-expanded=${open}
        aria-label=${`Runs of ${name}`}
        onClick=${() => fold(id)}
      >
        <${Icon} name=${open ? 'down' : 'right'} />
      </button>
    </span>
    <span role="cell" class="c-name">
      <a href=${href(['sweeps', id])}>${name}</a>
      <small>sweep of ${counted(members.length)} · ${statesText(members.map((run) => run.state))}</small>
    </span>
    <span role="cell" class="c-state"></span>
    <span role="cell" class="c-progress"></span>
    <span role="cell" class="c-reward"></span>
    <span role="cell" class="c-accuracy"><b>${best >= 0 ? percent(best) : ''}</b></span>
    <span role="cell" class="c-created"></span>
  </div>`;
}

/**
 * @typedef {{
 *   run: Run, inside: boolean, index: number, height: number, chosen: boolean, toggle: (id: string) => void,
 *   now: number,
 * }} RowProps
 */

/** Rows that were there before are not drawn again while people scroll. */
const Row = memo((/** @type {RowProps} */ { run, inside, index, height, chosen, toggle, now }) => {
  // Names of a sweep's runs begin alike: what tells them apart must not be cut.
  const own = run.sweep ? settingsText(run.sweep.settings) : '';
  const small = spark(run.id).value;
  const { worked, pace } = effortOf(small);
  const left = timeLeft(run, pace);
  const share = run.steps ? (run.last_step ?? 0) / run.steps : 0;
  const held = small?.['eval/accuracy'] ?? [];
  const accuracy = held.length > 1 ? held : small?.accuracy;
  const reward = small?.['reward/mean'] ?? small?.['loss/policy'];
  return html`<div
    class=${`run-row ${chosen ? 'chosen' : ''} ${inside ? 'inside' : ''}`}
    role="row"
    aria-rowindex=${index + 2}
    style=${{ top: `${index * height}px`, height: `${height}px` }}
  >
    <span role="cell" class="c-check">
      <input
        type="checkbox"
        aria-label=${`Compare ${run.name}`}
        checked=${chosen}
        onChange=${() => toggle(run.id)}
      />
    </span>
    <span role="cell" class="c-name">
      <a href=${href(['runs', run.id])} title=${run.name}>${inside && own ? own : run.name}</a>
      <small>
        ${own && !inside && html`<b>${own}</b> · `}<b>${run.method}</b> · ${run.model} · ${run.dataset}
      </small>
    </span>
    <span role="cell" class="c-state"><${Badge} state=${run.state} /></span>
    <span role="cell" class="c-progress">
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
    </span>
    <span role="cell" class="c-reward">
      <${Sparkline} points=${reward} colour=${series(1)} label=${`Reward of ${run.name}`} />
    </span>
    <span role="cell" class="c-accuracy">
      <${Sparkline} points=${accuracy} colour=${series(0)} label=${`Accuracy of ${run.name}`} />
      <b>${percent(run.best_accuracy)}</b>
    </span>
    <span role="cell" class="c-created">
      <time datetime=${run.created_at} title=${moment(run.created_at)}>${ago(run.created_at, now)}</time>
    </span>
  </div>`;
});
