// A question to a model: its answer as it comes, and afterwards what the answer hangs on.
import { signal } from './html.js';
import { asError, identity, request as send } from './api.js';
import { dependence } from './dependence.js';
import { frames } from './sse.js';

/**
 * An answer, as far as it has come. `hidden`: what hiding the image changes, by token and in sum.
 * @typedef {{
 *   status: 'idle' | 'waiting' | 'writing' | 'done' | 'failed', request?: Request,
 *   tokens: Api['TokenInfo'][], maps: Api['AttentionMap'][][], summary: Api['AttentionMap'][], text: string,
 *   visual?: Api['Visual'] | null, layers: number[], warnings: Api['Warning'][],
 *   timings: Api['Timings'] | null, error: Error | null,
 *   hidden: { whole?: number[], found?: import('./dependence.js').Dependence, error?: Error } | null,
 * }} State
 *
 * @typedef {ReturnType<typeof requestOf>} Request
 */

/** @type {State} */
export const FRESH = {
  status: 'idle',
  tokens: [],
  maps: [],
  summary: [],
  visual: null,
  layers: [],
  warnings: [],
  timings: null,
  error: null,
  hidden: null,
  text: '',
};

/**
 * The body of POST /generate for a question.
 * @param {{
 *   model: string, prompt: string, images: string[], temperature: number, maxTokens: number, seed: number | null,
 *   source: Api['MapSource'], layers: Api['Layers'],
 * }} question
 */
export function requestOf({ model, prompt, images, temperature, maxTokens, seed, source, layers }) {
  return {
    model,
    prompt,
    images,
    max_new_tokens: maxTokens,
    temperature,
    ...(temperature > 0 && seed !== null ? { seed } : {}),
    attention: { maps: /** @type {const} */ ('tokens'), format: /** @type {const} */ ('values'), source, layers },
  };
}

/** One place where answers appear; asking again ends the answer before. */
export class Asking {
  constructor() {
    this.state = signal(FRESH);
    /** @type {AbortController | null} */
    this.abort = null;
  }

  /** @param {Partial<State>} fields */
  set(fields) {
    this.state.value = { ...this.state.value, ...fields };
  }

  stop() {
    this.abort?.abort();
  }

  /** @param {Request} request */
  async ask(request) {
    this.stop();
    const abort = new AbortController();
    this.abort = abort;
    this.state.value = { ...FRESH, status: 'waiting', request };
    try {
      const settings = { headers: { accept: 'text/event-stream' }, signal: abort.signal };
      const response = await send('POST', '/generate', { ...request, stream: true }, settings);
      for await (const { event, data } of frames(response)) {
        if (abort.signal.aborted) return;
        if (event === 'token') {
          const { tokens, maps, text } = this.state.value;
          this.set({
            status: 'writing',
            tokens: [...tokens, data.token],
            maps: [...maps, data.maps],
            text: text + data.text,
          });
        } else if (event === 'done') {
          const choice = data.choices[0];
          this.set({
            status: 'done',
            summary: choice.attention.summary,
            visual: choice.visual,
            layers: choice.attention.layers ?? [],
            warnings: data.warnings,
            timings: data.timings,
          });
        } else if (event === 'error') {
          this.set({ status: 'failed', error: new Error(data.detail || data.title) });
        }
      }
      if (['waiting', 'writing'].includes(this.state.value.status))
        this.set({ status: 'failed', error: new Error('The answer was cut off.') });
      if (this.state.value.status === 'done' && request.images.length > 0) await this.hide(request, abort.signal);
    } catch (thrown) {
      const error = asError(thrown);
      if (error.name !== 'AbortError') this.set({ status: 'failed', error });
    }
  }

  /**
   * Reads the answer again with the image hidden, and with its most attended and random cells hidden.
   * @param {Request} request
   * @param {AbortSignal} abort
   */
  async hide(request, abort) {
    const { tokens } = this.state.value;
    const base = {
      model: request.model,
      prompt: request.prompt,
      images: request.images,
      responses: [tokens.map((t) => t.text).join('')],
    };
    try {
      await dependence(
        base,
        (found) => {
          // Other tokens than those written (a character cut in two) cannot be told apart.
          const whole = found.tokens.length === tokens.length ? { whole: found.tokens } : {};
          if (!abort.aborted) this.set({ hidden: { ...whole, found } });
        },
        abort,
      );
    } catch (thrown) {
      const error = asError(thrown);
      if (error.name !== 'AbortError') this.set({ hidden: { error } });
    }
  }
}

/** Where people sign in, programs need a key: from the environment, never from this page. */
const locked = () => Boolean(identity.value?.csrf);
export const keyHeader = () => (locked() ? ' -H "authorization: Bearer $VGPO_API_KEY"' : '');

/**
 * The request as a line for the shell.
 * @param {Request} request
 */
export function asCurl(request) {
  const head = `curl -s ${location.origin}/generate${keyHeader()} -H 'content-type: application/json' -d @- <<'JSON'`;
  return `${head}\n${JSON.stringify(request, null, 2)}\nJSON\n`;
}

/**
 * The question for OpenAI's client.
 * @param {Request} request
 */
export function asPython({ model, prompt, images, max_new_tokens: tokens, temperature }) {
  const parts = [...images.map((url) => ({ type: 'image_url', image_url: { url } })), { type: 'text', text: prompt }];
  const base = JSON.stringify(`${location.origin}/v1`);
  const key = locked() ? 'os.environ["VGPO_API_KEY"]' : '"unused"';
  return `${locked() ? 'import os\n\n' : ''}from openai import OpenAI

client = OpenAI(base_url=${base}, api_key=${key})
answer = client.chat.completions.create(
    model=${JSON.stringify(model)},
    messages=[{"role": "user", "content": ${JSON.stringify(parts, null, 4).replaceAll('\n', '\n    ')}}],
    temperature=${temperature},
    max_completion_tokens=${tokens},
)
print(answer.choices[0].message.content)
`;
}
