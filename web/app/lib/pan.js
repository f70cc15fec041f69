// Moving along a chart that is zoomed in: by wheel, by dragging with shift, by a finger.

/** @typedef {[from: number, to: number]} Part */

/** A wheel that turns by this many pixels moves the view by all of its width. */
const WHEEL = 700;
const PINCH = 300;

/**
 * The part [from, to] moved and sized so that it stays inside of [low, high]; null where it is all of it.
 * @param {Part} part
 * @param {Part} whole
 * @returns {Part | null}
 */
export function within([from, to], [low, high]) {
  const size = to - from;
  if (!(size < high - low)) return null;
  const start = Math.min(Math.max(from, low), high - size);
  return [start, start + size];
}

/**
 * Listens on the box of a chart; `view` gives the part that is shown or null, `show(from, to)` shows another.
 * Returns how to stop.
 * @param {UPlot} plot
 * @param {HTMLElement} box
 * @param {{ view: () => Part | null, whole: () => Part, show: (from: number, to: number) => void }} chart
 */
export function gestures(plot, box, { view, whole, show }) {
  /** @type {Part | null} */
  let waiting = null;
  let frame = 0;
  /** @param {Part} next */
  const later = (next) => {
    waiting = next;
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      if (waiting) show(...waiting);
    });
  };
  const current = () => (frame ? waiting : view());
  /** @param {number} share */
  const by = (share) => {
    const part = current();
    if (!part) return;
    const way = share * (part[1] - part[0]);
    later([part[0] + way, part[1] + way]);
  };
  /** @param {WheelEvent} event */
  const wheel = (event) => {
    if (event.ctrlKey) {
      // What browsers make of two fingers on a touch pad: closer or farther, around the pointer.
      event.preventDefault();
      const [from, to] = current() ?? whole();
      const at = plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, 'x');
      const factor = Math.exp(event.deltaY / PINCH);
      later([at - (at - from) * factor, at + (to - at) * factor]);
      return;
    }
    const turned = event.deltaX || (event.shiftKey ? event.deltaY : 0);
    if (!turned || !view()) return;
    event.preventDefault();
    by(turned / WHEEL);
  };
  /** @type {number | null} */
  let last = null;
  /** @param {PointerEvent} event */
  const down = (event) => {
    const finger = event.pointerType === 'touch';
    if (!finger && !event.shiftKey) return;
    if (!finger && view()) event.stopPropagation();
    last = event.clientX;
  };
  /** @param {PointerEvent} event */
  const move = (event) => {
    if (last === null) return;
    const wide = plot.over.clientWidth || 1;
    if (view()) by((last - event.clientX) / wide);
    else if (event.pointerType === 'touch')
      plot.setCursor({ left: event.clientX - plot.over.getBoundingClientRect().left, top: 1 });
    last = event.clientX;
  };
  const up = () => {
    last = null;
  };
  // Before uPlot's own listener, which would begin to choose a part.
  /** @param {MouseEvent} event */
  const shifted = (event) => {
    if (event.shiftKey && view()) event.stopPropagation();
  };
  const listening = new AbortController();
  const { signal } = listening;
  box.addEventListener('wheel', wheel, { passive: false, signal });
  box.addEventListener('pointerdown', down, { signal });
  box.addEventListener('mousedown', shifted, { capture: true, signal });
  addEventListener('pointermove', move, { signal });
  addEventListener('pointerup', up, { signal });
  addEventListener('pointercancel', up, { signal });
  return () => {
    cancelAnimationFrame(frame);
    listening.abort();
  };
}
