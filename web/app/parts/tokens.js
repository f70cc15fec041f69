// The tokens of a response, coloured by a number each; arrow keys walk through them.
import { html, memo, useLayoutEffect, useMemo, useRef } from '../lib/html.js';
import { ink, rgb } from '../lib/colour.js';

/** Where a value lies in the colour map: 0 … 1. */
export function place(value, low, high, diverging) {
  if (diverging) {
    const size = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return 0.5 + value / (2 * size);
  }
  return (value - low) / (high - low || 1);
}

/** A token's text without the space that only separates it; a token of nothing but space stays visible. */
const shown = (text) => text.replaceAll('\n', '⏎').trim() || (text ? '␣' : '∅');
const special = (text) => /^<\|.*\|>$/.test(text.trim());

/**
 * Spans of thousands of tokens are made once; which of them is read is marked on the elements, so that a step costs
 * nothing.
 */
export function Tokens({ tokens, values, low, high, map = 'viridis', current, onPick, label, small, text }) {
  const root = useRef(null);
  const marked = useRef(null);
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
            tabindex="-1"
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
  const nodeAt = (index) => root.current?.querySelector(`[data-place="${index}"]`);
  useLayoutEffect(() => {
    const node = nodeAt(current ?? 0);
    if (marked.current && marked.current !== node)
      Object.assign(marked.current, { tabIndex: -1, ariaSelected: 'false' });
    if (node) Object.assign(node, { tabIndex: 0, ariaSelected: String(node.dataset.place === String(current)) });
    marked.current = node ?? null;
  }, [current, spans]);
  const pick = (index) => {
    const next = Math.min(tokens.length - 1, Math.max(0, index));
    onPick?.(next);
    nodeAt(next)?.focus({ preventScroll: true });
  };
  // What the list calls never changes, so that it is drawn once for its tokens.
  const latest = useRef(null);
  latest.current = { current, pick, onPick };
  const hear = useMemo(() => handlers(latest), []);
  return html`<${List} spans=${spans} label=${label} small=${small} root=${root} hear=${hear} />`;
}

const List = memo(
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

const JUMPS = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 };

/** What a list of tokens listens to; `latest` refers to what it is to do now. */
function handlers(latest) {
  const placeOf = (event) => {
    const found = event.target.closest?.('[data-place]');
    return found ? Number(found.dataset.place) : null;
  };
  const over = (event) => {
    const index = placeOf(event);
    if (index !== null && index !== latest.current.current) latest.current.onPick?.(index);
  };
  return {
    onMouseOver: over,
    onFocusIn: over,
    onClick: (event) => {
      const index = placeOf(event);
      if (index !== null) latest.current.pick(index);
    },
    onKeyDown: (event) => {
      const jump = JUMPS[event.key];
      if (jump === undefined) return;
      event.preventDefault();
      latest.current.pick((latest.current.current ?? (jump > 0 ? -1 : 1e9)) + jump);
    },
  };
}
