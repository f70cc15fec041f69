// The official OpenAI client for Node against a real server: VGPO_URL names it, it serves the model `starter`.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const url = process.env.VGPO_URL;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });

const rows = await (await fetch(`${url}/v1/datasets/digits/rows?split=eval&limit=1`)).json();
const [row] = rows.data;
const messages = [{ role: "user", content: [
  { type: "image_url", image_url: { url: row.images[0].thumbnail } },
  { type: "text", text: row.prompt.replace("<image>", "").trim() },
] }];
const ask = (more = {}) =>
  client.chat.completions.create({ model: "starter", messages, temperature: 0, max_tokens: 48, ...more });

test("models are listed", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("starter"), ids.join());
});

test("a stream joins to the whole answer", async () => {
  const whole = await ask();
  assert.match(whole.choices[0].message.content, /\\boxed\{/);
  let text = "";
  for await (const chunk of await ask({ stream: true })) text += chunk.choices[0]?.delta?.content ?? "";
  assert.equal(text, whole.choices[0].message.content);
});

test("choices, seeds and log-probs are honoured", async () => {
  const asked = { n: 2, temperature: 1, seed: 5, logprobs: true, top_logprobs: 1 };
  const [first, second] = [await ask(asked), await ask(asked)];
  assert.deepEqual(first.choices.map((c) => c.message.content), second.choices.map((c) => c.message.content));
  assert.ok(first.choices[1].logprobs.content.every((token) => token.logprob <= 0));
});

test("a client that hangs up is heard", async () => {
  const stream = await ask({ stream: true, temperature: 1 });
  for await (const _ of stream) {
    stream.controller.abort();
    break;
  }
  assert.equal((await ask({ max_tokens: 1 })).choices[0].finish_reason, "length");
});

test("errors are the client's own", async () => {
  await assert.rejects(ask({ model: "no-such-model" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
  await assert.rejects(ask({ temperature: -1 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
});
