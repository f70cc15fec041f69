// A small menu that a button opens: arrow keys move, Escape closes, a click outside too.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { Icon } from './icon.js';

/** @param {{ label: string, children: Child }} props */
export function Menu({ label, children }) {
  const [open, setOpen] = useState(false);
  const root = useRef(/** @type {HTMLDivElement | null} */ (null));
  /** @returns {HTMLElement[]} */
  const items = () => Array.from(root.current?.querySelectorAll('[role=menuitem]:not(:disabled)') ?? []);
  useEffect(() => {
    if (!open) return undefined;
    items()[0]?.focus();
    /** @param {PointerEvent} event */
    const outside = (event) => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [open]);
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key === 'Escape' && open) {
      event.stopPropagation();
      setOpen(false);
      root.current?.querySelector('button')?.focus();
    }
    if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && open) {
      event.preventDefault();
      const all = items();
      const from = all.findIndex((item) => item === document.activeElement);
      all[(from + (event.key === 'ArrowDown' ? 1 : -1) + all.length) % all.length]?.focus();
    }
  };
  return html`<div class="menu" ref=${root} onKeyDown=${onKeyDown}>
    <button
      class="icon"
      aria-label=${label}
      aria-haspopup="menu"
      aria-expanded=${open}
      onClick=${() => setOpen(!open)}
    >
      <${Icon} name="more" />
    </button>
    ${open && html`<div role="menu" aria-label=${label} onClick=${() => setOpen(false)}>${children}</div>`}
  </div>`;
}
