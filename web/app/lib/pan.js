// Moving along a chart that is zoomed in: by wheel, by dragging with shift, by a finger.

/** A wheel that turns by this many pixels moves the view by all of its width. */
const WHEEL = 700;
const PINCH = 300;

/** The part [from, to] moved and sized so that it stays inside of [low, high]; null where it is all of it. */
export function within([from, to], [low, high]) {
  const size = to - from;
  if (!(size < high - low)) return null;
  const start = Math.min(Math.max(from, low), high - size);
  return [start, start + size];
}

/**
 * Listens on the box of a chart; `view` gives the part that is shown or null, `show(from, to)` shows another.
 * Returns how to stop.
 */
export function gestures(plot, box, { view, whole, show }) {
  let waiting = null;
  let frame = 0;
  const later = (next) => {
    waiting = next;
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      show(...waiting);
    });
  };
  const current = () => (frame ? waiting : view());
  const by = (share) => {
    const part = current();
    if (part) later(part.map((end) => end + share * (part[1] - part[0])));
  };
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
  let last = null;
  const down = (event) => {
    const finger = event.pointerType === 'touch';
    if (!finger && !event.shiftKey) return;
    if (!finger && view()) event.stopPropagation();
    last = event.clientX;
  };
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
  const shifted = (event) => {
    if (event.shiftKey && view()) event.stopPropagation();
  };
  const all = [
    ['wheel', wheel, { passive: false }],
    ['pointerdown', down],
    ['mousedown', shifted, { capture: true }],
  ];
  for (const [name, each, settings] of all) box.addEventListener(name, each, settings);
  const far = [
    ['pointermove', move],
    ['pointerup', up],
    ['pointercancel', up],
  ];
  for (const [name, each] of far) addEventListener(name, each);
  return () => {
    cancelAnimationFrame(frame);
    for (const [name, each, settings] of all) box.removeEventListener(name, each, settings);
    for (const [name, each] of far) removeEventListener(name, each);
  };
}
