// The legend of a colour map.
import { html, useEffect, useRef } from '../lib/html.js';
import { rgb } from '../lib/colour.js';

export function Scale({ map, low, high, label }) {
  const canvas = useRef(null);
  useEffect(() => {
    const pen = canvas.current.getContext('2d');
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
