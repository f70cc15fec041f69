// Server-sent events over fetch: unlike EventSource it hears every event name, can POST, and says when it is cut off.

/**
 * Frames of a response, one by one: {id, event, data}.
 * @param {Response} response
 * @returns {AsyncGenerator<{ id: string, event: string, data: any }>}
 */
export async function* frames(response) {
  if (!response.body) return;
  const decoder = /** @type {ReadableWritablePair<string, Uint8Array>} */ (new TextDecoderStream());
  const reader = response.body.pipeThrough(decoder).getReader();
  let rest = '';
  let frame = { id: '', event: '', data: /** @type {string[]} */ ([]) };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '') {
          if (frame.data.length)
            yield { id: frame.id, event: frame.event || 'message', data: parse(frame.data.join('\n')) };
          frame = { id: frame.id, event: '', data: [] };
          continue;
        }
        const colon = line.indexOf(':');
        const name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
        if (name === 'id') frame.id = text;
        else if (name === 'event') frame.event = text;
        else if (name === 'data') frame.data.push(text);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
