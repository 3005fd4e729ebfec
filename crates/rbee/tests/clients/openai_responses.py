"""OpenAI's SDK: responses, whole, streamed, in the background, taken up again and cancelled."""

import json
import os
import time

from openai import NotFoundError, OpenAI
from pydantic import BaseModel

MODEL = os.environ["MODEL"]
ENDED = ("completed", "incomplete", "failed", "cancelled")

client = OpenAI()


def deltas(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def ended(response):
    while response.status not in ENDED:
        time.sleep(0.1)
        response = client.responses.retrieve(response.id)
    return response


# The README's example.
response = client.responses.create(
    model="gpt-5.5",
    instructions="You are a coding assistant that talks like a pirate.",
    input="How do I check if a Python object is an instance of a class?",
    max_output_tokens=48,
    temperature=0,
)
assert response.object == "response" and response.id.startswith("resp_"), response
assert response.status in ("completed", "incomplete") and response.output_text, response
assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens, response.usage
again = client.responses.retrieve(response.id)
assert (again.id, again.status, again.output_text) == (response.id, response.status, response.output_text), again
assert again.usage.output_tokens == response.usage.output_tokens, again.usage

events = list(
    client.responses.create(
        model=MODEL, input="Say 'double bubble bath' ten times fast.", max_output_tokens=48, stream=True
    )
)
kinds = [event.type for event in events]
opening = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
closing = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
assert kinds[:4] == opening and kinds[-4:-1] == closing, kinds
assert kinds[-1] in ("response.completed", "response.incomplete"), kinds
assert set(kinds[4:-4]) == {"response.output_text.delta"}, kinds
numbers = [event.sequence_number for event in events]
assert numbers == list(range(numbers[0], numbers[0] + len(events))), numbers
assert deltas(events) == events[-1].response.output_text == events[-4].text, events[-1]
assert client.responses.retrieve(events[0].response.id).output_text == deltas(events)

# The SDK's own helper, and the form of a schema.
class Shape(BaseModel):
    sides: int
    is_round: bool


with client.responses.stream(
    model=MODEL, input="Describe a square.", text_format=Shape, temperature=0, max_output_tokens=64
) as stream:
    for event in stream:
        pass
    assert isinstance(stream.get_final_response().output_parsed, Shape)

# A tool that must be called, and an answer from its result.
tools = [
    {
        "type": "function",
        "name": "get_horoscope",
        "description": "Get today's horoscope for an astrological sign.",
        "parameters": {
            "type": "object",
            "properties": {"sign": {"type": "string", "enum": ["Taurus", "Aquarius"]}},
            "required": ["sign"],
            "additionalProperties": False,
        },
        "strict": True,
    }
]
conversation = [{"role": "user", "content": "What is my horoscope? I am an Aquarius."}]
called = client.responses.create(
    model=MODEL,
    input=conversation,
    tools=tools,
    tool_choice={"type": "function", "name": "get_horoscope"},
    temperature=0,
    max_output_tokens=64,
)
[call] = [item for item in called.output if item.type == "function_call"]
assert call.name == "get_horoscope" and json.loads(call.arguments)["sign"] in ("Taurus", "Aquarius"), call
conversation += called.output
conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "You will meet an otter."})
answer = client.responses.create(
    model=MODEL, input=conversation, tools=tools, tool_choice="none", max_output_tokens=48
)
assert answer.output_text and all(item.type == "message" for item in answer.output), answer

# In the background, asked for until it has ended.
background = client.responses.create(
    model=MODEL, input="Write about otters in space.", background=True, max_output_tokens=64
)
assert background.status in ("queued", "in_progress"), background
done = ended(background)
assert done.id == background.id and done.status in ("completed", "incomplete") and done.output_text, done

# In the background and streamed: left, and taken up after the last event that was seen.
stream = client.responses.create(
    model=MODEL, input="Write a very long novel about otters.", background=True, stream=True, max_output_tokens=96
)
before = []
for event in stream:
    before.append(event)
    if len(deltas(before)) > 20:
        break
stream.close()
left, cursor = before[0].response.id, before[-1].sequence_number
after = list(client.responses.retrieve(left, stream=True, starting_after=cursor))
assert after[0].sequence_number == cursor + 1, (cursor, after[0])
assert after[-1].type in ("response.completed", "response.incomplete"), after[-1]
whole = ended(client.responses.retrieve(left))
assert deltas(before) + deltas(after) == whole.output_text == after[-1].response.output_text, (before, after)
everything = list(client.responses.retrieve(left, stream=True, starting_after=before[0].sequence_number))
assert deltas(everything) == whole.output_text, everything

# An answer of this form is not at its end before it is cancelled.
numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}
form = {"type": "object", "properties": {"numbers": numbers}, "required": ["numbers"], "additionalProperties": False}
long = client.responses.create(
    model=MODEL,
    input="Count from 1 to 1000.",
    text={"format": {"type": "json_schema", "name": "numbers", "schema": form, "strict": True}},
    background=True,
)
cancelled = ended(client.responses.cancel(long.id))
assert cancelled.id == long.id and cancelled.status == "cancelled", cancelled

try:
    client.responses.retrieve("resp_00000000000000000000000000000000")
    raise AssertionError("an unknown response was found")
except NotFoundError as error:
    assert error.status_code == 404 and error.body["message"], error.body
