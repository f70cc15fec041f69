// The step of an evaluation, out of those that a run, or two, have.
import { html } from '../lib/html.js';
import { Icon } from './icon.js';

/** @param {{ label: string, steps: number[], step: number, onStep: (step: number) => void, children?: Child }} props */
export function StepChoice({ label, steps, step, onStep, children }) {
  // The newest step that is not later than the chosen one.
  const index = Math.max(0, steps.filter((one) => one <= step).length - 1);
  /** @param {number} next */
  const to = (next) => onStep(steps[Math.min(steps.length - 1, Math.max(0, next))]);
  return html`<div class="card step-slider">
    <button
      class="icon"
      aria-label=${`${label}: evaluation before`}
      disabled=${index === 0}
      onClick=${() => to(index - 1)}
    >
      <${Icon} name="left" />
    </button>
    <label class="grow">
      <span class="sr">${label}</span>
      <input
        type="range"
        min="0"
        max=${steps.length - 1}
        value=${index}
        aria-valuetext=${`step ${steps[index]}`}
        onInput=${(e) => to(Number(e.currentTarget.value))}
      />
    </label>
    <button
      class="icon"
      aria-label=${`${label}: next evaluation`}
      disabled=${index === steps.length - 1}
      onClick=${() => to(index + 1)}
    >
      <${Icon} name="right" />
    </button>
    <b class="tabular">step ${steps[index]}</b>
    ${children}
  </div>`;
}
