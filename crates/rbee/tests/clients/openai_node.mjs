// OpenAI's SDK for Node.js: its README's example, a stream, a tool that must be called, and errors.
import assert from "node:assert/strict";

import OpenAI from "openai";

const model = process.env.MODEL;
const client = new OpenAI();

const completion = await client.chat.completions.create({
  model: "gpt-5.5",
  messages: [
    { role: "developer", content: "Talk like a pirate." },
    { role: "user", content: "Are semicolons optional in JavaScript?" },
  ],
  max_completion_tokens: 48,
  temperature: 0,
});
assert.ok(completion.choices[0].message.content, JSON.stringify(completion));

const { data: whole, response: raw } = await client.chat.completions
  .create({ model, messages: [{ role: "user", content: "hello" }], max_tokens: 32, temperature: 0 })
  .withResponse();

const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "hello" }],
  max_tokens: 32,
  temperature: 0,
  stream: true,
  stream_options: { include_usage: true },
});
let text = "";
let usage = null;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

const called = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "Is it day or night in Paris?" }],
  tools: [
    {
      type: "function",
      function: {
        name: "light",
        description: "Tell whether it is light.",
        parameters: {
          type: "object",
          properties: { when: { type: "string", enum: ["day", "night"] } },
          required: ["when"],
          additionalProperties: false,
        },
        strict: true,
      },
    },
  ],
  tool_choice: { type: "function", function: { name: "light" } },
  max_tokens: 64,
});
const [call] = called.choices[0].message.tool_calls;
assert.equal(call.function.name, "light");
assert.ok(["day", "night"].includes(JSON.parse(call.function.arguments).when), call.function.arguments);

const events = [];
for await (const event of await client.responses.create({
  model,
  input: 'Say "Sheep sleep deep" ten times fast!',
  max_output_tokens: 32,
  stream: true,
})) {
  events.push(event);
}
const deltas = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
const done = events.find((event) => event.type === "response.output_text.done");
assert.equal(deltas.join(""), done.text);

const embedded = await client.embeddings.create({ model, input: ["one", "two"] });
assert.equal(embedded.data.length, 2);
assert.ok(embedded.data[1].embedding.every(Number.isFinite));

const stranger = new OpenAI({ apiKey: "rbee_wrong" });
await assert.rejects(() => stranger.models.list(), OpenAI.AuthenticationError);
await assert.rejects(
  () => client.chat.completions.create({ model, messages: [{ role: "user", content: "hi" }], top_p: "all" }),
  OpenAI.BadRequestError,
);

console.log(raw.headers.get("x-rbee-job"));
