// The legend of a colour map.
import { html, useEffect, useRef } from '../lib/html.js';
import { penOf } from '../lib/canvas.js';
import { rgb } from '../lib/colour.js';

/** @param {{ map: ColourMap, low: string, high: string, label?: string }} props */
export function Scale({ map, low, high, label }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    if (!canvas.current) return;
    const pen = penOf(canvas.current);
    for (let x = 0; x < 120; x += 1) {
      pen.fillStyle = `rgb(${rgb(map, x / 119).join(' ')})`;
      pen.fillRect(x, 0, 1, 1);
    }
  }, [map]);
  return html`<span class="scale">
    ${label && html`<span>${label}</span>`}
    <span>${low}</span>
    <canvas ref=${canvas} width="120" height="1" aria-hidden="true"></canvas>
    <span>${high}</span>
  </span>`;
}
