// The tokens of a response, coloured by a number each; arrow keys walk through them.
import { html, memo, useLayoutEffect, useMemo, useRef } from '../lib/html.js';
import { ink, rgb } from '../lib/colour.js';

/**
 * What the list's keys and pointers do now.
 * @typedef {{
 *   current: number | null | undefined, pick: (index: number) => void, onPick: ((index: number) => void) | undefined,
 * }} Latest
 */

/**
 * The place of a value in the colour map: 0 … 1.
 * @param {number} value
 * @param {number} low
 * @param {number} high
 * @param {boolean} diverging
 */
export function place(value, low, high, diverging) {
  if (diverging) {
    const size = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return 0.5 + value / (2 * size);
  }
  return (value - low) / (high - low || 1);
}

/**
 * A token's text without the space that only separates it; a token of nothing but space stays visible.
 * @param {string} text
 */
const shown = (text) => text.replaceAll('\n', '⏎').trim() || (text ? '␣' : '∅');
/** @param {string} text */
const special = (text) => /^<\|.*\|>$/.test(text.trim());

/**
 * Spans of thousands of tokens are made once; which of them is read is marked on the elements, so that a step costs
 * nothing.
 * @param {{
 *   tokens: string[], values: ArrayLike<number | null | undefined> | null | undefined, low: number, high: number,
 *   map?: ColourMap, current: number | null | undefined, onPick?: (place: number) => void, label: string,
 *   small?: boolean, text?: (value: number) => string,
 * }} props
 */
export function Tokens({ tokens, values, low, high, map = 'viridis', current, onPick, label, small, text }) {
  const root = useRef(/** @type {HTMLDivElement | null} */ (null));
  const marked = useRef(/** @type {HTMLElement | null} */ (null));
  const spans = useMemo(
    () =>
      tokens.map((token, i) => {
        const value = values?.[i];
        const known = typeof value === 'number' && Number.isFinite(value);
        const colour = known ? rgb(map, place(value, low, high, map === 'diverging')) : null;
        return html`
          <span
            key=${i}
            data-place=${i}
            role="option"
            aria-selected="false"
            tabindex=${-1}
            class=${special(token) ? 'special' : ''}
            title=${known ? text?.(value) : undefined}
            style=${colour ? { background: `rgb(${colour.join(' ')})`, color: ink(colour) } : {}}
          >
            ${shown(token)}
          </span>
          ${token.includes('\n') ? html`<br />` : ''}
        `;
      }),
    [tokens, values, low, high, map],
  );
  /**
   * @param {number} index
   * @returns {HTMLElement | null | undefined}
   */
  const nodeAt = (index) => root.current?.querySelector(`[data-place="${index}"]`);
  useLayoutEffect(() => {
    const node = nodeAt(current ?? 0);
    if (marked.current && marked.current !== node)
      Object.assign(marked.current, { tabIndex: -1, ariaSelected: 'false' });
    if (node) Object.assign(node, { tabIndex: 0, ariaSelected: String(node.dataset.place === String(current)) });
    marked.current = node ?? null;
  }, [current, spans]);
  /** @param {number} index */
  const pick = (index) => {
    const next = Math.min(tokens.length - 1, Math.max(0, index));
    onPick?.(next);
    nodeAt(next)?.focus({ preventScroll: true });
  };
  // What the list calls never changes, so that it is drawn once for its tokens.
  const latest = useRef(/** @type {Latest} */ ({ current, pick, onPick }));
  latest.current = { current, pick, onPick };
  const hear = useMemo(() => handlers(latest), []);
  return html`<${List} spans=${spans} label=${label} small=${small} root=${root} hear=${hear} />`;
}

const List = memo(
  /**
   * @param {{
   *   spans: Child, label: string, small?: boolean | undefined, root: { current: HTMLDivElement | null },
   *   hear: ReturnType<typeof handlers>,
   * }} props
   */
  ({ spans, label, small, root, hear }) => html`<div
    class=${`tokens ${small ? 'small' : ''}`}
    role="listbox"
    aria-label=${label}
    aria-orientation="horizontal"
    ref=${root}
    ...${hear}
  >
    ${spans}
  </div>`,
);

/** @type {Record<string, number>} */
const JUMPS = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 };

/**
 * What a list of tokens listens to; `latest` refers to what it is to do now.
 * @param {{ current: Latest }} latest
 */
function handlers(latest) {
  /** @param {Event} event */
  const placeOf = (event) => {
    const found = event.target instanceof Element ? event.target.closest('[data-place]') : null;
    return found instanceof HTMLElement ? Number(found.dataset.place) : null;
  };
  /** @param {Event} event */
  const over = (event) => {
    const index = placeOf(event);
    if (index !== null && index !== latest.current.current) latest.current.onPick?.(index);
  };
  return {
    onMouseOver: over,
    onFocusIn: over,
    /** @param {Event} event */
    onClick: (event) => {
      const index = placeOf(event);
      if (index !== null) latest.current.pick(index);
    },
    /** @param {KeyboardEvent} event */
    onKeyDown: (event) => {
      const jump = JUMPS[event.key];
      if (jump === undefined) return;
      event.preventDefault();
      latest.current.pick((latest.current.current ?? (jump > 0 ? -1 : 1e9)) + jump);
    },
  };
}
