// A chart with legend, shared hover, zoom, keyboard, table, CSV and PNG.
import { html, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from '../lib/html.js';
import { columns, options, uPlot, xLabel, xText } from '../lib/plot.js';
import { number } from '../lib/format.js';
import { gestures, within } from '../lib/pan.js';
import { csv, fileName, save, saveText } from '../lib/download.js';
import { theme, token } from '../lib/colour.js';
import { Icon } from './icon.js';
import { Menu } from './menu.js';

const plain = (value) => number(value);
/** Finer points are asked for when the view has stood still for so long. */
const STILL = 150;

/**
 * `series`: [{label, colour, x, y, lo, hi, dash, title}]; `kind`: what x is; `text`: how a y value reads.
 * `onRange([from, to] | null)` is told when people zoom, so that finer points can be fetched.
 */
export function Chart({ title, note, series, kind = 'step', text = plain, height = 200, log: logged = false, weight = 0,
  stacked = false, sync, range, onRange, empty = 'No points yet.', tools }) {
  const box = useRef(null);
  const plot = useRef(null);
  const zoomed = useRef(null);
  const timer = useRef(0);
  const [at, setAt] = useState(null);
  const [zoom, setZoom] = useState(null);
  const [ownLog, setLog] = useState(logged);
  const [table, setTable] = useState(false);
  const name = useId();
  const log = logged || ownLog;
  const full = useMemo(() => series.filter((one) => one.x.length > 0), [series]);
  const { data, plan } = useMemo(() => columns(full, { log, weight, stacked }), [full, log, weight, stacked]);
  const shape = JSON.stringify([full.map((s) => [s.label, s.colour, s.dash, Boolean(s.lo)]), log, weight > 0, stacked, kind, sync,
    height, theme.value, data[0].length <= 60]);

  useLayoutEffect(() => {
    if (!box.current || full.length === 0) return undefined;
    const width = box.current.clientWidth || 300;
    const made = new uPlot(options(plan, full, {
      width, height, log, stacked, kind, sync, range, yText: text, count: data[0].length,
      onCursor: setAt,
      onZoom: (span) => {
        if (JSON.stringify(span) === JSON.stringify(zoomed.current)) return;
        zoomed.current = span;
        setZoom(span);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => onRange?.(span), STILL);
      },
    }), data, box.current);
    plot.current = made;
    if (zoomed.current) made.setScale('x', { min: zoomed.current[0], max: zoomed.current[1] });
    const observer = new ResizeObserver(([entry]) => {
      const wide = Math.floor(entry.contentRect.width);
      if (wide > 0 && wide !== made.width) made.setSize({ width: wide, height });
    });
    observer.observe(box.current);
    const still = gestures(made, box.current, { view: () => zoomed.current, whole: () => [made.data[0][0], made.data[0].at(-1)], show });
    return () => { still(); observer.disconnect(); made.destroy(); plot.current = null; };
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
  const show = (from, to) => {
    const all = plot.current?.data[0];
    if (!all?.length) return;
    const part = within([from, to], [all[0], all.at(-1)]);
    if (part) plot.current.setScale('x', { min: part[0], max: part[1] });
    else if (zoomed.current) reset();
  };
  const view = () => zoomed.current ?? [plot.current.data[0][0], plot.current.data[0].at(-1)];
  const pan = (share) => { const [from, to] = view(); show(from + share * (to - from), to + share * (to - from)); };
  /** Closer (below 1) or farther, around the point that is read. */
  const scale = (factor) => {
    if (!plot.current) return;
    const [from, to] = view();
    const middle = at === null || at === undefined ? (from + to) / 2 : plot.current.data[0][at];
    show(middle - (middle - from) * factor, middle + (to - middle) * factor);
  };
  const lineOf = (index) => plan.findIndex((p) => p.index === index && p.role === 'line') + 1;
  const valueAt = (index, place) => {
    const one = full[index];
    if (!stacked && place !== null && place !== undefined) return data[lineOf(index)]?.[place];
    const x = place === null || place === undefined ? undefined : data[0][place];
    const found = x === undefined ? one.y.length - 1 : one.x.indexOf(x);
    return one.y[found];
  };
  const step = (delta) => {
    const made = plot.current;
    if (!made) return;
    const count = made.data[0].length;
    // Before the first key the cursor stands beside the curve, on the side it comes from.
    const from = at ?? (delta > 0 ? -1 : count);
    const next = Math.min(count - 1, Math.max(0, from + delta));
    made.setCursor({ left: made.valToPos(made.data[0][next], 'x'), top: made.bbox.height / (2 * devicePixelRatio) });
  };
  const onKeyDown = (event) => {
    if (event.key === '+' || event.key === '-') { event.preventDefault(); scale(event.key === '+' ? 0.5 : 2); return; }
    const moved = event.shiftKey && { ArrowLeft: -0.25, ArrowRight: 0.25 }[event.key];
    if (moved) { event.preventDefault(); if (zoomed.current) pan(moved); return; }
    const jump = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 }[event.key];
    if (jump !== undefined) { event.preventDefault(); step(jump); }
    if (event.key === 'Escape') { setAt(null); plot.current?.setCursor({ left: -10, top: -10 }); reset(); }
  };
  const reading = at === null || at === undefined ? '' : `${xLabel[kind]} ${xText(data[0][at], kind)}: ${
    full.map((one, i) => `${one.label} ${text(valueAt(i, at))}`).join(', ')}`;

  return html`<figure class="chart" aria-labelledby=${name}>
    <figcaption>
      <h3 id=${name}>${title}</h3>
      ${zoom && html`<button class="icon" aria-label=${`Earlier part of ${title}`} onClick=${() => pan(-0.5)}><${Icon} name="left" /></button>
        <button class="icon" aria-label=${`Later part of ${title}`} onClick=${() => pan(0.5)}><${Icon} name="right" /></button>
        <button class="small" onClick=${reset}>Reset zoom</button>`}
      ${tools}
      <${Menu} label=${`Options of ${title}`}>
        <button role="menuitem" onClick=${() => scale(0.5)} disabled=${full.length === 0}>Zoom in</button>
        <button role="menuitem" onClick=${() => setLog(!log)} disabled=${logged}>${log ? 'Linear axis' : 'Logarithmic axis'}</button>
        <button role="menuitem" onClick=${() => setTable(!table)}>${table ? 'Hide table' : 'Show as table'}</button>
        <button role="menuitem" onClick=${() => saveText(`${fileName(title)}.csv`, asCsv(kind, full, data, lineOf, valueAt), 'text/csv')}>Download CSV</button>
        <button role="menuitem" onClick=${() => picture(title, full, plot.current)}>Download PNG</button>
      </${Menu}>
    </figcaption>
    ${note && html`<p class="note">${note}</p>`}
    ${full.length === 0
      ? html`<p class="empty" style=${{ minHeight: `${height}px` }}>${empty}</p>`
      : html`<div class="plot" ref=${box} tabindex="0" role="img" onKeyDown=${onKeyDown}
          aria-label=${`${title}. ${full.map((one, i) => `${one.label}: ${text(valueAt(i, null))}`).join('; ')}. Arrow keys read single points, plus and minus zoom, shift with arrows moves on.`}></div>
        <ul class="legend">${full.map((one, i) => html`<li key=${one.label} title=${one.title || ''}>
          <i style=${{ background: one.colour }} class=${one.dash ? 'dashed' : ''}></i><span>${one.label}</span>
          <b>${text(valueAt(i, at))}</b></li>`)}
          ${at !== null && at !== undefined && html`<li class="where">${xLabel[kind]} ${xText(data[0][at], kind)}</li>`}</ul>
        <p class="sr" aria-live="polite">${document.activeElement === box.current ? reading : ''}</p>`}
    ${table && full.length > 0 && html`<${Table} kind=${kind} full=${full} data=${data} valueAt=${valueAt} text=${text} />`}
  </figure>`;
}

function Table({ kind, full, data, valueAt, text }) {
  const rows = data[0].map((x, i) => i).slice(-200);
  return html`<div class="scroll tall" tabindex="0"><table>
    <thead><tr><th scope="col">${xLabel[kind]}</th>${full.map((one) => html`<th scope="col" class="num">${one.label}</th>`)}</tr></thead>
    <tbody>${rows.map((i) => html`<tr><th scope="row">${xText(data[0][i], kind)}</th>${
      full.map((_, n) => html`<td class="num">${text(valueAt(n, i))}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

function asCsv(kind, full, data, lineOf, valueAt) {
  const head = [kind, ...full.flatMap((one) => (one.lo ? [one.label, `${one.label} low`, `${one.label} high`] : [one.label]))];
  const rows = data[0].map((x, i) => [x, ...full.flatMap((one, n) => {
    const place = one.x.indexOf(x);
    return one.lo ? [valueAt(n, i), one.lo[place], one.hi[place]] : [valueAt(n, i)];
  })]);
  return csv([head, ...rows]);
}

/** The chart with its title and legend as a picture. */
function picture(title, full, plot) {
  if (!plot) return;
  const source = plot.ctx.canvas;
  const scale = devicePixelRatio || 1;
  const [head, line] = [34 * scale, 20 * scale];
  const canvas = Object.assign(document.createElement('canvas'), { width: source.width, height: source.height + head + line * full.length + 10 * scale });
  const pen = canvas.getContext('2d');
  pen.fillStyle = token('--surface');
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = token('--ink');
  pen.font = `600 ${15 * scale}px system-ui, sans-serif`;
  pen.fillText(title, 12 * scale, 23 * scale);
  pen.drawImage(source, 0, head);
  pen.font = `${12 * scale}px system-ui, sans-serif`;
  full.forEach((one, i) => {
    const y = head + source.height + line * i + 12 * scale;
    pen.fillStyle = one.colour;
    pen.fillRect(12 * scale, y - 8 * scale, 14 * scale, 4 * scale);
    pen.fillStyle = token('--ink');
    pen.fillText(one.label, 32 * scale, y);
  });
  canvas.toBlob((blob) => save(`${fileName(title)}.png`, blob));
}
