// Where a model looks while it reads a response that was written before.
import { post } from './api.js';

const IMAGE = /<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>|<image>/g;

/** Messages of a prompt that already went through the chat template; images are put back in their places. */
export function messagesOf(prompt, images) {
  const turns = [...prompt.matchAll(/<\|im_start\|>(system|user|assistant)\n([\s\S]*?)<\|im_end\|>/g)];
  const found = turns.length > 0 ? turns.map(([, role, text]) => ({ role, text })) : [{ role: 'user', text: prompt }];
  let next = 0;
  return found.map(({ role, text }) => {
    if (role !== 'user') return { role, content: text };
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

export const dataUrl = (base64) => (base64.startsWith('data:') ? base64 : `data:image/png;base64,${base64}`);

/** The question alone, for people. */
export function question(prompt) {
  const user = [...prompt.matchAll(/<\|im_start\|>user\n([\s\S]*?)<\|im_end\|>/g)].at(-1)?.[1] ?? prompt;
  return user.replace(IMAGE, '').trim();
}

const kept = new Map();

/** Scores one response of a sample; answers are kept for the page's life (the newest 60). */
export function scoreResponse(record, index, model, options = {}) {
  const key = JSON.stringify([record.id, index, model, options]);
  if (!kept.has(key)) {
    const { prompt, images, responses } = record.group;
    const asked = post('/v1/score', {
      model,
      messages: messagesOf(prompt, images.map(dataUrl)),
      responses: [responses[index].tokens.join('')],
      attention: {
        maps: 'tokens',
        format: 'values',
        source: options.source || 'attention',
        layers: options.layers || 'mean',
      },
      ...(options.ablate ? { ablate: options.ablate } : {}),
    }).then((answer) => answer.responses[0]);
    kept.set(key, asked);
    asked.catch(() => kept.delete(key));
    if (kept.size > 60) kept.delete(kept.keys().next().value);
  }
  return kept.get(key);
}

const grids = new WeakMap();

/** One map of rows as {rows, cols, values}; the same map gives the same object, so that nothing is drawn twice. */
export function gridOf(map) {
  if (!map?.values) return null;
  if (!grids.has(map))
    grids.set(map, { rows: map.values.length, cols: map.values[0]?.length ?? 0, values: map.values.flat() });
  return grids.get(map);
}

/** The smallest and largest of many values; those that are no numbers do not count. */
export function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values)
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  return low <= high ? [low, high] : [0, 1];
}

/** The smallest and largest value of all maps of a response, so that tokens can be compared. */
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
