// Submit, watch, generate: with types by openapi-typescript and calls by openapi-fetch. VGPO_URL names the server.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./vgpo.js";

type Event = components["schemas"]["Event"];

const client = createClient<paths>({ baseUrl: process.env.VGPO_URL ?? "" });

const body = {
    model: "starter",
    dataset: "digits",
    steps: 1,
    eval_before: false,
    eval_every: 0,
    rollout: { group_size: 2, max_new_tokens: 8, filter: null },
    batch: { prompts_per_step: 2, minibatch_prompts: 2 },
    tags: { client: "typescript" },
};

/** The events of a job, live, until the stream ends. */
async function watch(id: string): Promise<{ kinds: string[]; end: string }> {
    const path = { id };
    const { data, error } = await client.GET("/v1/jobs/{id}/events/stream", { params: { path }, parseAs: "stream" });
    assert.ok(data, JSON.stringify(error));
    const kinds: string[] = [];
    let text = "";
    for await (const chunk of data.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)) {
        text += chunk;
        const frames = text.split("\n\n");
        text = frames.pop() ?? "";
        for (const frame of frames) {
            const field = (name: string) => frame.split("\n").find((line) => line.startsWith(name))?.slice(name.length);
            const payload = JSON.parse(field("data: ") ?? "null");
            if (field("event: ") === "end") return { kinds, end: payload.state };
            if (payload !== null) kinds.push((payload as Event).kind);
        }
    }
    throw new Error("the stream broke off");
}

const wrong = await client.POST("/v1/jobs", { body: { ...body, stepps: 1 } });
assert.ok(wrong.error && "errors" in wrong.error);
assert.equal(wrong.error.errors?.[0]?.pointer, "/stepps");

const submitted = await client.POST("/v1/jobs", { body });
assert.ok(submitted.data && "run_id" in submitted.data, JSON.stringify(submitted.error));
const { id, run_id } = submitted.data;
const { kinds, end } = await watch(id);
assert.equal(end, "succeeded");
assert.ok(kinds.includes("job") && kinds.includes("checkpoint"), kinds.join());

const asked = { model: `${run_id}@last`, prompt: "what is the sum of the digits ?", max_new_tokens: 4 };
const { data: answer, error } = await client.POST("/generate", { body: asked });
assert.ok(answer && typeof answer !== "string", JSON.stringify(error));
assert.match(answer.model, /^ckpt_/);
assert.ok((answer.choices[0]?.tokens.length ?? 0) <= 4);
console.log(`the generated TypeScript client: ${id} ${end}, ${answer.model} says ${JSON.stringify(answer.choices[0]?.text)}`);
