"""OpenAI's SDK: chat completions, whole and streamed, completions and models. Prints the id of a job."""

import os

from openai import OpenAI

MODEL = os.environ["MODEL"]
MESSAGES = [{"role": "user", "content": "hello"}]

client = OpenAI()

# The README's example, with the name of a model that is OpenAI's.
completion = client.chat.completions.create(
    model="gpt-5.5",
    messages=[
        {"role": "developer", "content": "Talk like a pirate."},
        {"role": "user", "content": "How do I check if a Python object is an instance of a class?"},
    ],
    max_completion_tokens=48,
)
assert completion.object == "chat.completion" and completion.choices[0].message.content, completion
assert completion.choices[0].message.role == "assistant", completion
assert completion.usage.completion_tokens <= 48, completion.usage

raw = client.chat.completions.with_raw_response.create(
    model=MODEL, messages=MESSAGES, max_tokens=64, temperature=0
)
job, whole = raw.headers["x-rbee-job"], raw.parse()
assert whole.choices[0].finish_reason == "stop" and whole.choices[0].message.content, whole
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole.usage

chunks = list(
    client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=64,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == whole.choices[0].message.content, (text, whole)
assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
assert len({chunk.id for chunk in chunks}) == 1, chunks
reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
assert reasons[-1] == whole.choices[0].finish_reason and not any(reasons[:-1]), reasons
*others, last = chunks
assert last.choices == [] and all(chunk.usage is None for chunk in others), last
assert last.usage.prompt_tokens == whole.usage.prompt_tokens, (last.usage, whole.usage)
assert last.usage.completion_tokens == whole.usage.completion_tokens, (last.usage, whole.usage)
plain = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=4, stream=True))
assert all(chunk.usage is None for chunk in plain), plain

# The SDK's own helper puts the chunks together.
with client.chat.completions.stream(
    model=MODEL, messages=MESSAGES, max_completion_tokens=64, temperature=0
) as stream:
    seen = "".join(event.delta for event in stream if event.type == "content.delta")
    assert seen == stream.get_final_completion().choices[0].message.content == text, seen

several = client.chat.completions.create(
    model=MODEL, messages=MESSAGES, max_tokens=8, n=2, seed=7, logprobs=True, top_logprobs=2
)
assert [choice.index for choice in several.choices] == [0, 1], several
for choice in several.choices:
    tokens = choice.logprobs.content
    assert tokens and all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens), tokens

stop = text.split()[2]
stopped = client.chat.completions.create(
    model=MODEL, messages=MESSAGES, max_tokens=64, temperature=0, stop=[stop]
)
assert stopped.choices[0].message.content == text[: text.index(stop)], (stopped, text)
assert stopped.choices[0].finish_reason == "stop", stopped

legacy = client.completions.create(model=MODEL, prompt="One, two, three,", max_tokens=16, temperature=0)
assert legacy.object == "text_completion" and "four" in legacy.choices[0].text, legacy
streamed = client.completions.create(
    model=MODEL, prompt="One, two, three,", max_tokens=16, temperature=0, stream=True
)
assert "".join(chunk.choices[0].text for chunk in streamed) == legacy.choices[0].text

models = client.models.list()
assert MODEL in [model.id for model in models], models
model = client.models.retrieve(MODEL)
assert model.id == MODEL and model.object == "model", model

print(job)
