// A question to a model: its answer as it comes, and afterwards what the answer hangs on.
import { signal } from './html.js';
import { call, identity, post } from './api.js';
import { frames } from './sse.js';

export const FRESH = {
  status: 'idle',
  tokens: [],
  maps: [],
  images: [],
  summary: [],
  visual: null,
  warnings: [],
  model: null,
  timings: null,
  error: null,
  hidden: null,
  text: '',
};

/** The body of POST /generate for a question. */
export function requestOf({ model, prompt, images, temperature, maxTokens, seed, source, layers }) {
  return {
    model,
    prompt,
    images,
    max_new_tokens: maxTokens,
    temperature,
    ...(temperature > 0 && seed !== null ? { seed } : {}),
    attention: { maps: 'tokens', format: 'values', source, layers },
  };
}

/** One place where answers appear; asking again ends the answer before. */
export class Asking {
  constructor() {
    this.state = signal(FRESH);
    this.abort = null;
  }

  set(fields) {
    this.state.value = { ...this.state.value, ...fields };
  }

  stop() {
    this.abort?.abort();
  }

  async ask(request) {
    this.stop();
    const abort = new AbortController();
    this.abort = abort;
    this.state.value = { ...FRESH, status: 'waiting', request };
    try {
      const response = await call('/generate', {
        method: 'POST',
        body: { ...request, stream: true },
        headers: { accept: 'text/event-stream' },
        signal: abort.signal,
      });
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
            images: choice.attention.images,
            summary: choice.attention.summary,
            visual: choice.visual,
            reason: choice.finish_reason,
            warnings: data.warnings,
            model: data.model,
            timings: data.timings,
            usage: data.usage,
          });
        } else if (event === 'error') {
          this.set({ status: 'failed', error: new Error(data.detail || data.title) });
        }
      }
      if (['waiting', 'writing'].includes(this.state.value.status))
        this.set({ status: 'failed', error: new Error('The answer was cut off.') });
      if (this.state.value.status === 'done' && request.images.length > 0) await this.hide(request, abort.signal);
    } catch (error) {
      if (error.name !== 'AbortError') this.set({ status: 'failed', error });
    }
  }

  /** Reads the answer again with the image hidden, and with its most attended and random cells hidden. */
  async hide(request, abort) {
    const { tokens } = this.state.value;
    const base = {
      model: request.model,
      prompt: request.prompt,
      images: request.images,
      responses: [tokens.map((t) => t.text).join('')],
    };
    const read = async (ablate) =>
      (await post('/v1/score', { ...base, ablate }, { signal: abort })).responses[0].tokens;
    try {
      const whole = await read('image');
      // Other tokens than those written (a character cut in two) cannot be told apart.
      if (whole.length === tokens.length) this.set({ hidden: { whole: whole.map((t) => t.delta_logprob) } });
      const sum = (scored) => scored.reduce((total, t) => total + t.delta_logprob, 0);
      const [top, random] = [await read({ top_patches: 0.25 }), await read({ random_patches: 0.25, seed: 1 })];
      this.set({
        hidden: {
          ...this.state.value.hidden,
          sums: { whole: sum(whole), top: sum(top), random: sum(random) },
        },
      });
    } catch (error) {
      if (error.name !== 'AbortError') this.set({ hidden: { error } });
    }
  }
}

/** Where people sign in, programs need a key: from the environment, never from this page. */
const locked = () => Boolean(identity.value?.csrf);
export const keyHeader = () => (locked() ? ' -H "authorization: Bearer $VGPO_API_KEY"' : '');

/** The request as a line for the shell. */
export function asCurl(request) {
  const head = `curl -s ${location.origin}/generate${keyHeader()} -H 'content-type: application/json' -d @- <<'JSON'`;
  return `${head}\n${JSON.stringify(request, null, 2)}\nJSON\n`;
}

/** The question for OpenAI's client. */
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
