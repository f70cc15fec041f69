// A chart with legend, shared hover, zoom, keyboard, table, CSV, SVG and PNG.
import { html, useEffect, useId, useLayoutEffect, useMemo, useRef, useSignal, useState } from '../lib/html.js';
import { columns, options, uPlot, xLabel, xText } from '../lib/plot.js';
import { saveCsv, savePicture, saveSvg } from '../lib/chart_files.js';
import { plain } from '../lib/format.js';
import { gestures, within } from '../lib/pan.js';
import { theme } from '../lib/colour.js';
import { Legend, reader, Reading } from './chart_legend.js';
import { Icon } from './icon.js';
import { Menu } from './menu.js';

const KEYS = 'Arrow keys read single points, plus and minus zoom, shift with arrows moves on.';
/** How far keys move the view, in parts of its width. @type {Record<string, number>} */
const MOVES = { ArrowLeft: -0.25, ArrowRight: 0.25 };
/** How far keys move the cursor, in points. @type {Record<string, number>} */
const JUMPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 };
/** Finer points are asked for when the view has stood still for so long. */
const STILL = 150;

/** @typedef {import('../lib/pan.js').Part} Part */

/**
 * The first and the last x value of a chart.
 * @param {UPlot} plot
 * @returns {Part}
 */
const ends = ({ data: [xs] }) => [xs[0], xs[xs.length - 1]];

/**
 * `series`: [{label, colour, x, y, lo, hi, dash, title}]; `kind`: what x is; `text`: how a y value reads.
 * `onRange([from, to] | null)` is called on zoom, so that finer points can be fetched.
 * @param {{
 *   title: string, note?: string | undefined, series: Series[], kind?: XKind, height?: number, log?: boolean,
 *   weight?: number,
 *   text?: ((value: number | null | undefined) => string) | undefined, stacked?: boolean | undefined, sync?: string,
 *   range?: ((low: number, high: number) => [number, number]) | undefined, empty?: string, tools?: Child,
 *   onRange?: (part: Part | null) => void,
 * }} props
 */
export function Chart({
  title,
  note,
  series,
  kind = 'step',
  text = plain,
  height = 200,
  log: logged = false,
  weight = 0,
  stacked = false,
  sync,
  range,
  onRange,
  empty = 'No points yet.',
  tools,
}) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {UPlot | null} */ (null));
  const zoomed = useRef(/** @type {Part | null} */ (null));
  const timer = useRef(0);
  const inView = useRef(true);
  const at = useSignal(/** @type {number | null | undefined} */ (null));
  const [zoom, setZoom] = useState(/** @type {Part | null} */ (null));
  const [ownLog, setLog] = useState(logged);
  const [table, setTable] = useState(false);
  const name = useId();
  const log = logged || ownLog;
  const full = useMemo(() => series.filter((one) => one.x.length > 0), [series]);
  const { data, plan } = useMemo(() => columns(full, { log, weight, stacked }), [full, log, weight, stacked]);
  const shape = JSON.stringify([
    full.map((s) => [s.label, s.colour, s.dash, Boolean(s.lo)]),
    log,
    weight > 0,
    stacked,
    kind,
    sync,
    height,
    theme.value,
    data[0].length <= 60,
  ]);

  useLayoutEffect(() => {
    if (!box.current || full.length === 0) return undefined;
    const width = box.current.clientWidth || 300;
    const made = new uPlot(
      options(plan, full, {
        width,
        height,
        log,
        stacked,
        kind,
        sync,
        range,
        yText: text,
        count: data[0].length,
        onCursor: (place) => {
          if (inView.current) at.value = place;
        },
        onZoom: (span) => {
          if (JSON.stringify(span) === JSON.stringify(zoomed.current)) return;
          zoomed.current = span;
          setZoom(span);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => onRange?.(span), STILL);
        },
      }),
      data,
      box.current,
    );
    plot.current = made;
    if (zoomed.current) made.setScale('x', { min: zoomed.current[0], max: zoomed.current[1] });
    const observer = new ResizeObserver(([entry]) => {
      const wide = Math.floor(entry.contentRect.width);
      if (wide > 0 && wide !== made.width) made.setSize({ width: wide, height });
    });
    observer.observe(box.current);
    // The cursor is shared: charts out of sight need not tell what is under it.
    const watcher = new IntersectionObserver(([entry]) => {
      inView.current = entry.isIntersecting;
    });
    watcher.observe(box.current);
    const still = gestures(made, box.current, {
      view: () => zoomed.current,
      whole: () => ends(made),
      show,
    });
    return () => {
      still();
      observer.disconnect();
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => () => clearTimeout(timer.current), []);

  useEffect(() => {
    const made = plot.current;
    if (!made || made.data === data || made.series.length !== data.length) return;
    const span = zoomed.current;
    made.setData(data, !span);
    if (span) made.setScale('x', { min: span[0], max: span[1] });
  });

  const reset = () => {
    clearTimeout(timer.current);
    zoomed.current = null;
    setZoom(null);
    onRange?.(null);
    plot.current?.setData(plot.current.data, true);
  };
  /**
   * @param {number} from
   * @param {number} to
   */
  const show = (from, to) => {
    const made = plot.current;
    if (!made?.data[0].length) return;
    const part = within([from, to], ends(made));
    if (part) made.setScale('x', { min: part[0], max: part[1] });
    else if (zoomed.current) reset();
  };
  /** @param {number} share */
  const pan = (share) => {
    if (!zoomed.current) return;
    const [from, to] = zoomed.current;
    show(from + share * (to - from), to + share * (to - from));
  };
  /**
   * Closer (below 1) or farther, around the point that is read.
   * @param {number} factor
   */
  const scale = (factor) => {
    if (!plot.current) return;
    const [from, to] = zoomed.current ?? ends(plot.current);
    const middle = plot.current.data[0][at.peek() ?? -1] ?? (from + to) / 2;
    show(middle - (middle - from) * factor, middle + (to - middle) * factor);
  };
  const valueAt = useMemo(() => reader(full, plan, data, stacked), [full, plan, data, stacked]);
  /** @param {number} delta */
  const step = (delta) => {
    const made = plot.current;
    if (!made) return;
    const count = made.data[0].length;
    // Before the first key the cursor is next to the curve, on the side it comes from.
    const from = at.peek() ?? (delta > 0 ? -1 : count);
    const next = Math.min(count - 1, Math.max(0, from + delta));
    made.setCursor({
      left: made.valToPos(made.data[0][next], 'x'),
      top: made.bbox.height / (2 * devicePixelRatio),
    });
  };
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key === '+' || event.key === '-') {
      event.preventDefault();
      scale(event.key === '+' ? 0.5 : 2);
      return;
    }
    const moved = event.shiftKey && MOVES[event.key];
    if (moved) {
      event.preventDefault();
      pan(moved);
      return;
    }
    const jump = JUMPS[event.key];
    if (jump !== undefined) {
      event.preventDefault();
      step(jump);
    }
    if (event.key === 'Escape') {
      at.value = null;
      plot.current?.setCursor({ left: -10, top: -10 });
      reset();
    }
  };
  const newest = full.map((one, i) => `${one.label}: ${text(valueAt(i, null))}`).join('; ');
  const told = { full, at, xs: data[0], kind, valueAt, text };
  const shown = { title, full, plan, data, kind, stacked, log, text };

  return html`<figure class="chart" aria-labelledby=${name}>
    <figcaption>
      <h3 id=${name}>${title}</h3>
      ${
        zoom &&
        html`
          <button class="icon" aria-label=${`Earlier part of ${title}`} onClick=${() => pan(-0.5)}>
            <${Icon} name="left" />
          </button>
          <button class="icon" aria-label=${`Later part of ${title}`} onClick=${() => pan(0.5)}>
            <${Icon} name="right" />
          </button>
          <button class="small" onClick=${reset}>Reset zoom</button>
        `
      }
      ${tools}
      <${Menu} label=${`Options of ${title}`}>
        <button role="menuitem" onClick=${() => scale(0.5)} disabled=${full.length === 0}>Zoom in</button>
        <button role="menuitem" onClick=${() => setLog(!log)} disabled=${logged}>
          ${log ? 'Linear axis' : 'Logarithmic axis'}
        </button>
        <button role="menuitem" onClick=${() => setTable(!table)}>${table ? 'Hide table' : 'Show as table'}</button>
        <button role="menuitem" onClick=${() => saveCsv(title, kind, full, data[0], valueAt)}>Download CSV</button>
        <button role="menuitem" onClick=${() => saveSvg(plot.current, shown)} disabled=${full.length === 0}>
          Download SVG
        </button>
        <button role="menuitem" onClick=${() => savePicture(plot.current, shown)} disabled=${full.length === 0}>
          Download PNG
        </button>
      </${Menu}>
    </figcaption>
    ${note && html`<p class="note">${note}</p>`}
    ${
      full.length === 0
        ? html`<p class="empty" style=${{ minHeight: `${height}px` }}>${empty}</p>`
        : html`
          <div
            class="plot"
            ref=${box}
            tabindex=${0}
            role="img"
            onKeyDown=${onKeyDown}
            aria-label=${`${title}. ${newest}. ${KEYS}`}
          ></div>
          <${Legend} ...${told} />
          <${Reading} ...${told} box=${box} />
        `
    }
    ${
      table &&
      full.length > 0 &&
      html`<${Table} kind=${kind} full=${full} data=${data} valueAt=${valueAt} text=${text} />`
    }
  </figure>`;
}

/**
 * @param {{
 *   kind: XKind, full: Series[], data: AlignedData, valueAt: ReadValue,
 *   text: (value: number | null | undefined) => string,
 * }} props
 */
function Table({ kind, full, data, valueAt, text }) {
  const rows = Array.from(data[0].keys()).slice(-200);
  return html`<div class="scroll tall" tabindex=${0}>
    <table>
      <thead>
        <tr>
          <th scope="col">${xLabel[kind]}</th>
          ${full.map((one) => html`<th scope="col" class="num">${one.label}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (i) => html`<tr>
            <th scope="row">${xText(data[0][i], kind)}</th>
            ${full.map((_, n) => html`<td class="num">${text(valueAt(n, i))}</td>`)}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
