"""Anthropic's SDK: messages, whole and streamed, tools, counted tokens and errors. Prints the id of a job."""

import os

import anthropic
from anthropic import Anthropic

MODEL = os.environ["MODEL"]
MESSAGES = [{"role": "user", "content": "hello"}]
# The SDK has no arguments any more for how tokens are chosen.
GREEDY = {"temperature": 0}

client = Anthropic()


def read(usage):
    """The tokens of a prompt, those among them that need not be computed again."""
    return usage.input_tokens + (usage.cache_read_input_tokens or 0)


# The README's example, with the name of a model that is Anthropic's.
message = client.messages.create(
    max_tokens=48,
    messages=[{"role": "user", "content": "Hello, Claude"}],
    model="claude-opus-4-6",
)
assert message.type == "message" and message.role == "assistant", message
assert message.content[0].type == "text" and message.content[0].text, message

request = dict(model=MODEL, max_tokens=64, messages=MESSAGES, extra_body=GREEDY)
raw = client.messages.with_raw_response.create(**request)
job, whole = raw.headers["x-rbee-job"], raw.parse()
text = whole.content[0].text
assert whole.stop_reason == "end_turn" and whole.stop_sequence is None, whole
assert client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens == read(whole.usage)

instructions = "You are a pirate. " * 8
system = client.messages.create(**request, system=instructions)
assert read(system.usage) > read(whole.usage), (system.usage, whole.usage)
blocks = client.messages.create(**request, system=[{"type": "text", "text": instructions}])
assert blocks.content == system.content, (blocks, system)

kinds = [event.type for event in client.messages.create(**request, stream=True)]
assert kinds[:2] == ["message_start", "content_block_start"], kinds
assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"], kinds
with client.messages.stream(**request) as stream:
    assert "".join(stream.text_stream) == text
    final = stream.get_final_message()
assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens), final
assert read(final.usage) == read(whole.usage), final

stop = text.split()[2]
stopped = client.messages.create(**request, stop_sequences=[stop])
assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop), stopped
assert stopped.content[0].text == text[: text.index(stop)], (stopped, text)

tools = [
    {
        "name": "get_weather",
        "description": "Get the weather for a specific location",
        "input_schema": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "maxLength": 40},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location", "unit"],
            "additionalProperties": False,
        },
    }
]
conversation = [{"role": "user", "content": "What is the weather in SF?"}]
request = dict(model=MODEL, max_tokens=128, messages=conversation, tools=tools, extra_body=GREEDY)
forced = {"type": "tool", "name": "get_weather"}
called = client.messages.create(**request, tool_choice=forced)
assert called.stop_reason == "tool_use", called
[call] = [block for block in called.content if block.type == "tool_use"]
with client.messages.stream(**request, tool_choice=forced) as stream:
    final = stream.get_final_message()
[streamed] = [block for block in final.content if block.type == "tool_use"]
for use in (call, streamed):
    assert use.name == "get_weather" and set(use.input) == {"location", "unit"}, use
    assert use.input["unit"] in ("celsius", "fahrenheit"), use
with_tools, without = (
    client.messages.count_tokens(model=MODEL, messages=conversation, **more).input_tokens
    for more in ({"tools": tools}, {})
)
assert with_tools > without + len("get_weather location unit".split()), (with_tools, without)

asked = client.messages.create(**request, tool_choice={"type": "none"})
conversation += [
    {"role": "assistant", "content": called.content},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "It's 73f"}]},
]
answer = client.messages.create(**request, tool_choice={"type": "none"})
assert answer.content[0].type == "text" and answer.content[0].text, answer
assert read(answer.usage) > read(asked.usage), (answer.usage, asked.usage)


def check(expected, kind, call):
    try:
        answer = call()
    except expected as error:
        assert type(error) is expected, repr(error)
        assert error.body["type"] == "error" and error.body["error"]["type"] == kind, error.body
        assert error.body["error"]["message"], error.body
        return
    raise AssertionError(f"{expected.__name__} was expected instead of {answer}")


hello = dict(model=MODEL, max_tokens=8, messages=[{"role": "user", "content": "hello"}])
stranger = Anthropic(api_key="rbee_" + 64 * "0")
check(anthropic.AuthenticationError, "authentication_error", lambda: stranger.messages.create(**hello))
bad_requests = [{"max_tokens": 0}, {"stop_sequences": 7}, {"messages": []}, {"system": 7, "stream": True}]
for fields in bad_requests:
    request = {**hello, **fields}
    check(anthropic.BadRequestError, "invalid_request_error", lambda: client.messages.create(**request))
long = {**hello, "messages": [{"role": "user", "content": 20_000 * "word "}]}
check(anthropic.BadRequestError, "invalid_request_error", lambda: client.messages.create(**long))

print(job)
