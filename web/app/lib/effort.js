// How long a run has worked, and how long it will: from the seconds of its steps, whatever passed between attempts.

/** What a run's time is spent on, besides waiting. */
export const EFFORT = ['time/step', 'time/evaluation', 'time/checkpoint'];
/** Points of steps that tell the pace of now. */
const RECENT = 20;

/** @typedef {{ mean: number | null, count: number }} Part */

/** @param {Part[]} parts */
const sum = (parts) => parts.reduce((total, { mean, count }) => total + (mean ?? 0) * count, 0);
/** @param {Part[]} parts */
const number = (parts) => parts.reduce((total, { count }) => total + count, 0);

/**
 * Seconds that went into the steps that the run has, and seconds that one more takes; null where nothing tells.
 * @param {(key: string) => Part[]} read the points of a key, in the order of steps
 */
export function effort(read) {
  const [steps, ...others] = EFFORT.map(read);
  const count = number(steps);
  const besides = sum(others.flat());
  const recent = steps.slice(-RECENT);
  return {
    worked: count > 0 || besides > 0 ? sum(steps) + besides : null,
    pace: count > 0 ? sum(recent) / number(recent) + besides / count : null,
  };
}

/**
 * Seconds until a run ends; null where nothing tells.
 * @param {Api['RunEntry']} run
 * @param {number | null} pace
 */
export function timeLeft(run, pace) {
  if (run.state !== 'running' || pace === null) return null;
  return pace * Math.max(0, run.steps - (run.last_step ?? 0));
}
