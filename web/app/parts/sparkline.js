// A series in the space of a word.
import { html } from '../lib/html.js';

/** @param {{ points: Spark[] | null | undefined, colour: string, label: string }} props */
export function Sparkline({ points, colour, label }) {
  const known = (points ?? []).flatMap(([x, y]) => (y === null ? [] : [{ x, y }]));
  if (known.length < 2)
    return html`<svg
      class="spark"
      viewBox="0 0 100 30"
      preserveAspectRatio="none"
      role="img"
      aria-label=${label}
    ></svg>`;
  const [left, right] = [known[0].x, known[known.length - 1].x];
  let [low, high] = [Infinity, -Infinity];
  for (const { y } of known) {
    low = Math.min(low, y);
    high = Math.max(high, y);
  }
  if (high - low < 1e-9) {
    low -= 0.5;
    high += 0.5;
  }
  /** @param {{ x: number, y: number }} point */
  const at = ({ x, y }) =>
    `${(((x - left) / (right - left || 1)) * 100).toFixed(2)} ${(28 - ((y - low) / (high - low)) * 26).toFixed(2)}`;
  return html`<svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label=${label}>
    <path
      d=${`M${known.map(at).join('L')}`}
      fill="none"
      stroke=${colour}
      stroke-width="1.7"
      vector-effect="non-scaling-stroke"
      stroke-linejoin="round"
      stroke-linecap="round"
    />
  </svg>`;
}
