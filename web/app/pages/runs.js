// Every run: live, filtered, sorted, grouped; thousands stay smooth because only what is seen is drawn.
import { html, useCallback, useEffect, useMemo, useState } from '../lib/html.js';
import { list } from '../lib/api.js';
import { epoch } from '../lib/live.js';
import { comparisons } from '../lib/comparisons.js';
import { grouped, KINDS } from '../lib/groups.js';
import { CHOICES, flipColumn, NAME, shownColumns } from '../lib/run_columns.js';
import { failure, isFinal, load, runs, STATES } from '../lib/runs.js';
import { go, setQuery } from '../lib/router.js';
import { refusal } from '../lib/session.js';
import { Empty, Failure, Loading, useLoad } from '../parts/common.js';
import { Icon } from '../parts/icon.js';
import { Chosen } from './runs_chosen.js';
import { counted, Rows } from './runs_rows.js';

/** @typedef {Api['RunEntry']} Run */

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
  const words = [run.id, run.name, run.model, run.dataset, run.method, run.project, run.notes ?? '', ...tags];
  const text = words.join(' ').toLowerCase();
  texts.set(run, text);
  return text;
}

/**
 * @param {Run[]} all
 * @param {PageProps['query']} query
 */
function shown(all, { q = '', state = '', method = '', project = '', sort = 'created', down = '1' }) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = all.filter((run) => {
    if (state === 'active' ? isFinal(run.state) : state && run.state !== state) return false;
    if (method && run.method !== method) return false;
    if (project && run.project !== project) return false;
    return words.length === 0 || words.every((word) => textOf(run).includes(word));
  });
  const by = SORTED.find(({ name }) => name === sort)?.by ?? ((run) => run.created_at);
  const sign = down === '1' ? -1 : 1;
  return wanted.sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    return x < y ? -sign : x > y ? sign : a.id < b.id ? 1 : -1;
  });
}

/** What a list can be sorted by. */
const SORTED = [NAME, ...CHOICES].filter(({ by }) => by);

/**
 * A set with a member, or without.
 * @param {Set<string>} old
 * @param {string} member
 * @param {boolean} there
 */
function withMember(old, member, there) {
  const next = new Set(old);
  if (there) next.add(member);
  else next.delete(member);
  return next;
}

/**
 * What runs are together by: what was chosen, else the sweeps where there are some.
 * @param {string | undefined} asked
 * @param {boolean} sweeps
 */
function kindOf(asked, sweeps) {
  const known = KINDS.find(([kind]) => kind === asked)?.[0];
  return known ?? (sweeps && asked !== '0' ? 'sweep' : null);
}

/** @param {PageProps} props */
export default function Runs({ query }) {
  const [chosen, setChosen] = useState(() => /** @type {Set<string>} */ (new Set()));
  const all = runs.value;
  const saved = comparisons.value;
  useEffect(() => {
    document.title = 'Runs · VGPO';
    if (!all) load();
  }, []);
  const some = useMemo(() => (all ? shown(all, query) : []), [all, JSON.stringify(query)]);
  const methods = useMemo(() => [...new Set((all || []).map((run) => run.method))].sort(), [all]);
  const projects = useMemo(() => [...new Set((all || []).map((run) => run.project))].sort(), [all]);
  const sweeps = useMemo(() => (all ?? []).some((run) => run.sweep), [all]);
  const kind = kindOf(query.group, sweeps);
  const columns = shownColumns();
  const [names] = useLoad(
    async (signal) => (sweeps ? list('/v1/sweeps', { most: 1000, signal }) : []),
    [sweeps, epoch.value],
  );
  // A sweep begins closed, other groups open.
  const [folded, setFolded] = useState(() => /** @type {Set<string>} */ (new Set()));
  const isOpen = useCallback(
    (/** @type {string} */ key) => Boolean(query.q) || folded.has(key) === (kind === 'sweep'),
    [folded, kind, query.q],
  );
  const items = useMemo(
    () => (kind ? grouped(some, kind, isOpen) : some.map((run) => ({ run, inside: false }))),
    [some, kind, isOpen],
  );
  const fold = useCallback((/** @type {string} */ key) => setFolded((old) => withMember(old, key, !old.has(key))), []);
  const choose = useCallback(
    (/** @type {string[]} */ ids, /** @type {boolean} */ on) =>
      setChosen((old) => ids.reduce((set, id) => withMember(set, id, on), old)),
    [],
  );
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
        ${
          (projects.length > 1 || query.project) &&
          html`<select
            aria-label="Project"
            value=${query.project || ''}
            onChange=${(e) => setQuery({ project: e.currentTarget.value })}
          >
            <option value="">any project</option>
            ${projects.map((name) => html`<option value=${name} selected=${query.project === name}>${name}</option>`)}
          </select>`
        }
        <select
          class="phone-only"
          aria-label="Sort by"
          onChange=${(e) => setQuery({ sort: e.currentTarget.value })}
        >
          ${SORTED.map(
            ({ name, title }) => html`<option value=${name} selected=${(query.sort || 'created') === name}>
              by ${title.toLowerCase()}
            </option>`,
          )}
        </select>
        <select
          aria-label="Group"
          value=${kind ?? '0'}
          onChange=${(e) => setQuery({ group: e.currentTarget.value })}
        >
          <option value="0" selected=${kind === null}>not grouped</option>
          ${KINDS.filter(([name]) => name !== 'sweep' || sweeps).map(
            ([name, text]) => html`<option value=${name} selected=${kind === name}>${text}</option>`,
          )}
        </select>
        <${ColumnChoice} />
        ${sweeps && html`<a href="#/sweeps">All sweeps</a>`}
        ${saved.length > 0 && html`<a href="#/compare">Saved comparisons</a>`}
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
            : html`
              <${Chosen} runs=${(all ?? []).filter(({ id }) => chosen.has(id))} clear=${() => setChosen(new Set())} />
              <${Rows}
                list=${items}
                kind=${kind}
                columns=${columns}
                names=${names}
                chosen=${chosen}
                choose=${choose}
                fold=${fold}
                isOpen=${isOpen}
                query=${query}
              />
            `
    }
  `;
}

/** Which columns there are, as this browser keeps it. */
function ColumnChoice() {
  const shownNow = shownColumns().map(({ name }) => name);
  return html`<details class="choice">
    <summary>Columns</summary>
    <fieldset>
      <legend class="sr">Columns of the list</legend>
      ${CHOICES.map(
        ({ name, title }) => html`<label class="inline" key=${name}>
          <input type="checkbox" checked=${shownNow.includes(name)} onChange=${() => flipColumn(name)} />
          ${title}
        </label>`,
      )}
      <small class="muted">kept in this browser</small>
    </fieldset>
  </details>`;
}
