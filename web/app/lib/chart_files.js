// A chart as files: its points as CSV, itself as a picture.
import { csv, fileName, save, saveText } from './download.js';
import { blank, penOf } from './canvas.js';
import { chartSvg } from './chart_svg.js';

/** Pixels of a picture for each of the drawing. */
const SCALE = 2;

/**
 * @param {string} title
 * @param {string} kind
 * @param {Series[]} full
 * @param {AlignedData[0]} xs
 * @param {ReadValue} valueAt
 */
export function saveCsv(title, kind, full, xs, valueAt) {
  const head = [
    kind,
    ...full.flatMap((one) => (one.lo ? [one.label, `${one.label} low`, `${one.label} high`] : [one.label])),
  ];
  const rows = Array.from(xs, (x, i) => [
    x,
    ...full.flatMap((one, n) => {
      const place = one.x.indexOf(x);
      return one.lo ? [valueAt(n, i), one.lo[place], one.hi?.[place]] : [valueAt(n, i)];
    }),
  ]);
  saveText(`${fileName(title)}.csv`, csv([head, ...rows]), 'text/csv');
}

/**
 * What a chart shows now, to be drawn: the part in view, too.
 * @param {UPlot} plot
 * @param {Omit<import('./chart_svg.js').Drawing, 'x' | 'y'>} shown
 * @returns {import('./chart_svg.js').Drawing}
 */
function drawingOf(plot, shown) {
  const xs = shown.data[0];
  const { x, y } = plot.scales;
  return { ...shown, x: [x.min ?? xs[0], x.max ?? xs[xs.length - 1]], y: [y.min ?? 0, y.max ?? 1] };
}

/**
 * @param {UPlot | null} plot
 * @param {Omit<import('./chart_svg.js').Drawing, 'x' | 'y'>} shown
 */
export function saveSvg(plot, shown) {
  if (!plot) return;
  saveText(`${fileName(shown.title)}.svg`, chartSvg(drawingOf(plot, shown)).svg, 'image/svg+xml');
}

/**
 * The same drawing in pixels, two for each of its own.
 * @param {UPlot | null} plot
 * @param {Omit<import('./chart_svg.js').Drawing, 'x' | 'y'>} shown
 */
export async function savePicture(plot, shown) {
  if (!plot) return;
  const { svg, width, height } = chartSvg(drawingOf(plot, shown));
  const image = new Image(width, height);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = blank(SCALE * width, SCALE * height);
  penOf(canvas).drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => {
    if (blob) save(`${fileName(shown.title)}.png`, blob);
  });
}
