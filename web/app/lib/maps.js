// Where a model looks while it reads a response that was written before.
import { post } from './api.js';

const IMAGE = /<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>|<image>/g;

/**
 * Messages of a prompt that already went through the chat template; images are put back in their places.
 * @param {string} prompt
 * @param {string[]} images
 * @returns {Api['Message'][]}
 */
export function messagesOf(prompt, images) {
  const turns = [...prompt.matchAll(/<\|im_start\|>(system|user|assistant)\n([\s\S]*?)<\|im_end\|>/g)];
  const found =
    turns.length > 0
      ? turns.map(([, role, text]) => ({ role: /** @type {Api['MessageRole']} */ (role), text }))
      : [{ role: /** @type {const} */ ('user'), text: prompt }];
  let next = 0;
  return found.map(({ role, text }) => {
    if (role !== 'user') return { role, content: text };
    /** @type {Api['Part'][]} */
    const content = [];
    let at = 0;
    for (const match of text.matchAll(IMAGE)) {
      if (match.index > at) content.push({ type: 'text', text: text.slice(at, match.index) });
      content.push({ type: 'image', image: images[next] });
      next += 1;
      at = match.index + match[0].length;
    }
    if (at < text.length) content.push({ type: 'text', text: text.slice(at) });
    return { role, content };
  });
}

/** @param {string} base64 */
export const dataUrl = (base64) => (base64.startsWith('data:') ? base64 : `data:image/png;base64,${base64}`);

/**
 * The question alone, for people.
 * @param {string} prompt
 */
export function question(prompt) {
  const user = [...prompt.matchAll(/<\|im_start\|>user\n([\s\S]*?)<\|im_end\|>/g)].at(-1)?.[1] ?? prompt;
  return user.replace(IMAGE, '').trim();
}

/**
 * What /v1/score needs to read a response of a sample again.
 * @param {Api['SampleRecord']} record
 * @param {number} index
 * @param {string} model
 */
export function scoreOf({ group: { prompt, images, responses } }, index, model) {
  const pictures = images.map((image) => dataUrl(image));
  return { model, messages: messagesOf(prompt, pictures), responses: [responses[index].tokens.join('')] };
}

/** @type {Map<string, Promise<Api['ScoredResponse']>>} */
const kept = new Map();

/**
 * Scores one response of a sample; answers are kept for the page's life (the newest 60).
 * @param {Api['SampleRecord']} record
 * @param {number} index
 * @param {string} model
 * @param {Api['MapSource']} source
 * @returns {Promise<Api['ScoredResponse']>}
 */
export function scoreResponse(record, index, model, source) {
  const key = JSON.stringify([record.id, index, model, source]);
  const known = kept.get(key);
  if (known) return known;
  const asked = post('/v1/score', {
    ...scoreOf(record, index, model),
    attention: { maps: 'tokens', format: 'values', source, layers: 'mean' },
  }).then((answer) => answer.responses[0]);
  kept.set(key, asked);
  asked.catch(() => kept.delete(key));
  for (const oldest of kept.keys()) if (kept.size > 60) kept.delete(oldest);
  return asked;
}

/** @type {WeakMap<Api['AttentionMap'], Grid>} */
const grids = new WeakMap();

/**
 * One map of rows as {rows, cols, values}; the same map gives the same object, so that nothing is drawn twice.
 * @param {Api['AttentionMap'] | undefined} map
 * @returns {Grid | null}
 */
export function gridOf(map) {
  if (!map?.values) return null;
  const known = grids.get(map);
  if (known) return known;
  const grid = { rows: map.values.length, cols: map.values[0]?.length ?? 0, values: map.values.flat() };
  grids.set(map, grid);
  return grid;
}

/**
 * The smallest and largest of many values; those that are not numbers do not count.
 * @param {Iterable<number | null | undefined>} values
 * @returns {[low: number, high: number]}
 */
export function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values)
    if (typeof value === 'number' && Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  return low <= high ? [low, high] : [0, 1];
}

/**
 * The smallest and largest value of all maps of a response, so that tokens can be compared.
 * @param {(Api['AttentionMap'] | undefined)[]} maps
 * @returns {[low: number, high: number]}
 */
export function span(maps) {
  let [low, high] = [Infinity, -Infinity];
  for (const map of maps)
    for (const row of map?.values ?? [])
      for (const value of row) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
  return low <= high ? [low, high] : [0, 1];
}
