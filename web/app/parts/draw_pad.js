// A pad to draw on: white on black, as handwritten digits are; guide lines show the cells.
import { html, useEffect, useRef } from '../lib/html.js';
import { blank, penOf } from '../lib/canvas.js';

/** @typedef {[x: number, y: number]} Place */

const SIDE = 336;

/**
 * `size`: width and height in pixels of the picture that is handed out, as the model knows it.
 * @param {{
 *   size?: [width: number, height: number] | undefined, guides?: number, onDraw: (picture: string | null) => void,
 * }} props
 */
export function DrawPad({ size = [SIDE, SIDE], guides = 2, onDraw }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const last = useRef(/** @type {Place | null} */ (null));
  const [width, height] = [SIDE, Math.round((SIDE * size[1]) / size[0])];
  const clear = () => {
    if (!canvas.current) return;
    const pen = penOf(canvas.current);
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, width, height);
    onDraw(null);
  };
  useEffect(clear, [size.join()]);
  const hand = () => {
    if (!canvas.current) return;
    const out = blank(size[0], size[1]);
    const pen = penOf(out);
    pen.imageSmoothingQuality = 'high';
    pen.drawImage(canvas.current, 0, 0, size[0], size[1]);
    onDraw(out.toDataURL('image/png'));
  };
  /**
   * @param {PointerEvent & { currentTarget: HTMLCanvasElement }} event
   * @returns {Place}
   */
  const place = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  /**
   * @param {Place} from
   * @param {Place} to
   */
  const line = (from, to) => {
    if (!canvas.current) return;
    const pen = penOf(canvas.current);
    Object.assign(pen, { strokeStyle: '#fff', lineWidth: width / 21, lineCap: 'round', lineJoin: 'round' });
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(to[0] + 0.01, to[1]);
    pen.stroke();
  };
  /** @param {PointerEvent & { currentTarget: HTMLCanvasElement }} event */
  const down = (event) => {
    event.preventDefault();
    event.currentTarget.setPointerCapture(event.pointerId);
    last.current = place(event);
    line(last.current, last.current);
  };
  /** @param {PointerEvent & { currentTarget: HTMLCanvasElement }} event */
  const move = (event) => {
    if (!last.current) return;
    const next = place(event);
    line(last.current, next);
    last.current = next;
  };
  const up = () => {
    if (last.current) {
      last.current = null;
      hand();
    }
  };
  return html`<div class="pad" style=${{ '--guides': guides }}>
    <div class="pad-face">
    <canvas
      ref=${canvas}
      width=${width}
      height=${height}
      role="img"
      aria-label="Drawing pad: draw with a pointer; without one, upload an image or take an example"
      onPointerDown=${down}
      onPointerMove=${move}
      onPointerUp=${up}
      onPointerCancel=${up}
    ></canvas>
    ${
      guides > 1 &&
      html`
        <i class="guide-x"></i>
        <i class="guide-y"></i>
      `
    }
    </div>
    <button class="small" onClick=${clear}>Clear</button>
  </div>`;
}
