// A small menu behind a button: arrow keys move, Escape closes, a click outside too.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { Icon } from './icon.js';

export function Menu({ label, children }) {
  const [open, setOpen] = useState(false);
  const root = useRef(null);
  const items = () => [...root.current.querySelectorAll('[role=menuitem]:not(:disabled)')];
  useEffect(() => {
    if (!open) return undefined;
    items()[0]?.focus();
    const outside = (event) => {
      if (!root.current.contains(event.target)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [open]);
  const onKeyDown = (event) => {
    if (event.key === 'Escape' && open) {
      event.stopPropagation();
      setOpen(false);
      root.current.querySelector('button').focus();
    }
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move && open) {
      event.preventDefault();
      const all = items();
      all[(all.indexOf(document.activeElement) + move + all.length) % all.length]?.focus();
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
