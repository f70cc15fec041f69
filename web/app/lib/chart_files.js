// A chart as files: its points as CSV, itself as a picture.
import { csv, fileName, save, saveText } from './download.js';
import { blank, penOf } from './canvas.js';
import { token } from './colour.js';

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
 * The chart with its title and legend as a picture.
 * @param {string} title
 * @param {Series[]} full
 * @param {UPlot | null} plot
 */
export function savePicture(title, full, plot) {
  if (!plot) return;
  const source = plot.ctx.canvas;
  const scale = devicePixelRatio || 1;
  const [head, line] = [34 * scale, 20 * scale];
  const canvas = blank(source.width, source.height + head + line * full.length + 10 * scale);
  const pen = penOf(canvas);
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
  canvas.toBlob((blob) => {
    if (blob) save(`${fileName(title)}.png`, blob);
  });
}
