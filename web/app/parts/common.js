// Small parts of every page: states, badges, fields.
import { html, useEffect, useId, useState } from '../lib/html.js';
import { ApiError, asError, faultsOf, OfflineError } from '../lib/api.js';
import { returns } from '../lib/live.js';
import { Icon } from './icon.js';

/** @param {{ state: BadgeState }} props */
export const Badge = ({ state }) => html`<span class=${`badge ${state}`}>${state.replace('_', ' ')}</span>`;

/** @param {{ what?: string, height?: number }} props */
export const Loading = ({ what = 'Loading', height = 160 }) => html`<div role="status" aria-busy="true">
  <span class="sr">${what} …</span>
  <div class="skeleton" style=${{ height: `${height}px` }}></div>
</div>`;

/**
 * Something could not be read: why, and a way out.
 * @param {{ error: unknown, again?: () => void }} props
 */
export function Failure({ error, again }) {
  const offline = error instanceof OfflineError;
  const missing = error instanceof ApiError && error.status === 404;
  const faults = faultsOf(error);
  return html`<div class="state error" role="alert">
    <${Icon} name="alert" />
    <h2>${offline ? 'Server unreachable' : missing ? 'Not found' : 'Something went wrong'}</h2>
    <p>${offline ? 'It may have been stopped. The page tries again by itself.' : asError(error).message}</p>
    ${
      faults.length > 0 &&
      html`<ul>${faults.map((f) => html`<li key=${f.pointer}><code>${f.pointer}</code>: ${f.detail}</li>`)}</ul>`
    }
    ${again && html`<button onClick=${again}><${Icon} name="retry" />Try again</button>`}
  </div>`;
}

/** @param {{ icon?: import('./icon.js').IconName, title: string, children?: Child }} props */
export const Empty = ({ icon = 'eye', title, children }) => html`<div class="state">
  <${Icon} name=${icon} />
  <h2>${title}</h2>
  ${children}
</div>`;

/**
 * A page that the key may not use, with the reason.
 * @param {{ title: string, why: string }} props
 */
export const Denied = ({ title, why }) => html`<${Empty} icon="key" title=${title}><p>${why}</p></${Empty}>`;

/**
 * Reads something once and again on demand: [value, error, again].
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {unknown[]} deps
 * @returns {[value: T | undefined, error: unknown, again: () => void, loading: boolean | undefined]}
 */
export function useLoad(load, deps) {
  const [state, set] = useState(/** @type {{ value?: T, error?: unknown, at?: number, loading?: boolean }} */ ({}));
  const [round, setRound] = useState(0);
  useEffect(() => {
    let stale = false;
    const abort = new AbortController();
    set((old) => ({ ...old, loading: true }));
    load(abort.signal).then(
      (value) => {
        if (!stale) set({ value });
      },
      (error) => {
        if (!stale && asError(error).name !== 'AbortError')
          set((old) => ({ value: old.value, error, at: returns.peek() }));
      },
    );
    return () => {
      stale = true;
      abort.abort();
    };
  }, [...deps, round]);
  // What failed because the server was away is read when it is back.
  const back = returns.value;
  useEffect(() => {
    if (state.error instanceof OfflineError && back !== state.at) setRound((n) => n + 1);
  }, [state.error, back]);
  return [state.value, state.error, () => setRound((n) => n + 1), state.loading];
}

/**
 * @template {string} K
 * @param {{ label: string, options: [key: K, text: string][], value: K, onChange: (key: K) => void }} props
 */
export const Segmented = ({
  label,
  options,
  value,
  onChange,
}) => html`<div class="segmented" role="group" aria-label=${label}>
  ${options.map(
    ([key, text]) => html`<button type="button" key=${key} aria-pressed=${value === key} onClick=${() => onChange(key)}>
      ${text}
    </button>`,
  )}
</div>`;

/**
 * `aside`: a control next to the label.
 * @param {{
 *   label: Child, help?: Child, wrong?: Child, aside?: Child,
 *   children: Child | ((attributes: FieldAttributes) => Child),
 * }} props
 */
export function Field({ label, help, wrong, aside, children }) {
  const id = useId();
  return html`<div class="field">
    ${
      aside
        ? html`<div class="label-row"><label for=${id}>${label}</label>${aside}</div>`
        : html`<label for=${id}>${label}</label>`
    }
    ${
      typeof children === 'function'
        ? children({ id, 'aria-describedby': `${id}-help`, 'aria-invalid': Boolean(wrong) })
        : children
    }
    <span id=${`${id}-help`}>
      ${help && html`<span class="help">${help}</span>`}
      ${wrong && html`<span class="wrong" role="alert">${wrong}</span>`}
    </span>
  </div>`;
}

/**
 * @template {string} K
 * @param {{
 *   label: string, value: K, options: ([value: K, text: string] | OptionGroup)[], onChange: (value: K) => void,
 *   help?: Child, wrong?: Child, aside?: Child,
 * }} props
 */
export const Select = ({ label, value, options, onChange, help, wrong, aside }) => html`<${Field}
  label=${label}
  help=${help}
  wrong=${wrong}
  aside=${aside}
>
  ${(/** @type {FieldAttributes} */ attributes) => html`<select
    ...${attributes}
    value=${value}
    onChange=${(e) => onChange(/** @type {K} */ (e.currentTarget.value))}
  >
    ${options.map((option) =>
      'options' in option
        ? html`<optgroup label=${option.label}>
          ${option.options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
        </optgroup>`
        : html`<option value=${option[0]} selected=${option[0] === value}>${option[1]}</option>`,
    )}
  </select>`}
</${Field}>`;

/**
 * Names with values in big type: [[name, value, small]].
 * @param {{ items: [name: string, value: Child, small?: Child][] }} props
 */
export const Figures = ({ items }) => html`<dl class="figures">
  ${items.map(
    ([name, value, small]) => html`<div class="figure" key=${name}>
      <dt>${name}</dt>
      <dd>${value}${small && html`<small>${small}</small>`}</dd>
    </div>`,
  )}
</dl>`;

/** @param {{ value: number, label: string, look?: string }} props */
export const Progress = ({ value, label, look = '' }) => html`<div
  class=${`bar ${look}`}
  role="progressbar"
  aria-label=${label}
  aria-valuemin=${0}
  aria-valuemax=${100}
  aria-valuenow=${Math.round(value * 100)}
>
  <i style=${{ width: `${Math.min(100, value * 100)}%` }}></i>
</div>`;

/**
 * The current time, so that "3 s ago" stays true.
 * @param {number} [every]
 */
export function useNow(every = 1000) {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
