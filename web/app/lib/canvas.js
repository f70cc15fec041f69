// Canvases, which every browser can draw on.

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {CanvasRenderingContext2D}
 */
export function penOf(canvas) {
  const pen = canvas.getContext('2d');
  if (!pen) throw new Error('This browser cannot draw on a canvas.');
  return pen;
}

/**
 * @param {number} width
 * @param {number} height
 */
export const blank = (width, height) => Object.assign(document.createElement('canvas'), { width, height });
