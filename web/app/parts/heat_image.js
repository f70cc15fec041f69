// An image with a heat map over it.
import { html, useEffect, useRef, useState } from '../lib/html.js';
import { blank, penOf } from '../lib/canvas.js';
import { rgb } from '../lib/colour.js';

/** @type {Map<string, Promise<HTMLImageElement>>} */
const pictures = new Map();

/**
 * A decoded picture; the newest 40 are kept.
 * @param {string} src
 */
function picture(src) {
  const known = pictures.get(src);
  if (known) return known;
  const image = new Image();
  image.src = src;
  const decoded = image.decode().then(() => image);
  pictures.set(src, decoded);
  decoded.catch(() => pictures.delete(src));
  for (const oldest of pictures.keys()) if (pictures.size > 40) pictures.delete(oldest);
  return decoded;
}

/**
 * The map as a tiny picture: a pixel a cell, see-through where it is cold.
 * @param {Grid} grid
 * @param {number} low
 * @param {number} high
 */
function mapPicture({ rows, cols, values }, low, high) {
  const canvas = blank(cols, rows);
  const pen = penOf(canvas);
  const pixels = pen.createImageData(cols, rows);
  values.forEach((value, i) => {
    const at = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
    pixels.data.set([...rgb('inferno', at), 90 + 130 * at], i * 4);
  });
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * @param {{
 *   src: string, grid: Grid | null, low?: number, high?: number, smooth?: boolean, label: string, width?: number,
 * }} props
 */
export function HeatImage({ src, grid, low = 0, high = 1, smooth = true, label, width = 336 }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [image, setImage] = useState(/** @type {HTMLImageElement | null} */ (null));
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    let stale = false;
    setBroken(false);
    picture(src).then(
      (found) => {
        if (!stale) setImage(found);
      },
      () => {
        if (!stale) setBroken(true);
      },
    );
    return () => {
      stale = true;
    };
  }, [src]);
  useEffect(() => {
    if (!image || !canvas.current) return;
    const wide = Math.max(width, Math.min(image.naturalWidth, 896));
    const tall = Math.round((wide * image.naturalHeight) / image.naturalWidth);
    Object.assign(canvas.current, { width: wide, height: tall });
    const pen = penOf(canvas.current);
    pen.imageSmoothingEnabled = image.naturalWidth >= 200;
    if (grid) pen.filter = 'grayscale(1)';
    pen.drawImage(image, 0, 0, wide, tall);
    pen.filter = 'none';
    if (grid) {
      pen.imageSmoothingEnabled = smooth;
      pen.imageSmoothingQuality = 'high';
      pen.drawImage(mapPicture(grid, low, high), 0, 0, wide, tall);
    }
  }, [image, grid, low, high, smooth, width]);
  if (broken) return html`<p class="empty">This image cannot be shown.</p>`;
  return html`<span class="heat"><canvas ref=${canvas} role="img" aria-label=${label}></canvas></span>`;
}
