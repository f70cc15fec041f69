// From which decoder layers attention comes: in some model families only a few of them have any.

/** @param {number[]} layers */
const listed = (layers) => {
  const texts = layers.map(String);
  const last = texts.pop() ?? '';
  return texts.length > 0 ? `${texts.join(', ')} and ${last}` : last;
};

/**
 * The layers that the maps and shares of an answer come from, in words; empty where the server does not say.
 * @param {number[] | undefined} layers what the answer says
 * @param {Api['Layers']} asked what was asked for
 */
export function layersText(layers, asked) {
  if (!layers?.length) return '';
  if (asked !== 'mean') return `${layers.length === 1 ? 'layer' : 'mean of the layers'} ${listed(layers)}`;
  // The first layer has attention in every family whose layers all have it.
  const whole = layers.every((layer, i) => layer === i);
  return whole
    ? `mean of all ${layers.length} layers`
    : `mean of layers ${listed(layers)}, the only ones of this model with attention`;
}
