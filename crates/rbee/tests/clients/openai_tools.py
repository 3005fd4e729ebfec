"""OpenAI's SDK: a tool that must be called, its result given back, and answers in the form of a schema."""

import json
import os
from typing import Literal

from openai import OpenAI
from pydantic import BaseModel, ConfigDict

MODEL = os.environ["MODEL"]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get current temperature for a given location.",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {
                        "type": "string",
                        "description": "City and country e.g. Bogotá, Colombia",
                        "maxLength": 40,
                    },
                    "units": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["location", "units"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
]
FORCED = {"type": "function", "function": {"name": "get_weather"}}

client = OpenAI()


def check_arguments(text):
    arguments = json.loads(text)
    assert set(arguments) == {"location", "units"}, arguments
    assert isinstance(arguments["location"], str), arguments
    assert arguments["units"] in ("celsius", "fahrenheit"), arguments


messages = [{"role": "user", "content": "What is the weather like in Paris today?"}]
request = dict(model=MODEL, messages=messages, tools=TOOLS, temperature=0, max_tokens=128)
called = client.chat.completions.create(**request, tool_choice=FORCED)
message = called.choices[0].message
assert called.choices[0].finish_reason in ("stop", "tool_calls"), called
[call] = message.tool_calls
assert call.type == "function" and call.id and call.function.name == "get_weather", call
check_arguments(call.function.arguments)

chunks = list(client.chat.completions.create(**request, tool_choice=FORCED, stream=True))
parts = [part for chunk in chunks if chunk.choices for part in chunk.choices[0].delta.tool_calls or []]
assert parts[0].id and parts[0].function.name == "get_weather", parts[0]
assert all(part.index == 0 for part in parts), parts
check_arguments("".join(part.function.arguments or "" for part in parts))

required = client.chat.completions.create(**request, tool_choice="required")
assert required.choices[0].finish_reason == "tool_calls", required
assert required.choices[0].message.tool_calls[0].function.name == "get_weather", required

# The message goes back as it came, and the result after it.
asked = client.chat.completions.create(**request, tool_choice="none")
messages.append(message)
messages.append({"role": "tool", "tool_call_id": call.id, "content": "14 degrees, and it rains"})
answer = client.chat.completions.create(**request, tool_choice="none")
assert answer.choices[0].message.content and not answer.choices[0].message.tool_calls, answer
assert answer.usage.prompt_tokens > asked.usage.prompt_tokens, (answer.usage, asked.usage)


class CalendarEvent(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["fair", "meeting", "party"]
    day: Literal["Monday", "Friday", "Sunday"]
    participants: int


event_messages = [
    {"role": "system", "content": "Extract the event information."},
    {"role": "user", "content": "Alice and Bob are going to a science fair on Friday."},
]
parsed = client.chat.completions.parse(
    model=MODEL, messages=event_messages, response_format=CalendarEvent, temperature=0, max_tokens=128
)
assert isinstance(parsed.choices[0].message.parsed, CalendarEvent), parsed

schema = {"name": "event", "schema": CalendarEvent.model_json_schema(), "strict": True}
formed = client.chat.completions.create(
    model=MODEL,
    messages=event_messages,
    response_format={"type": "json_schema", "json_schema": schema},
    max_tokens=128,
)
CalendarEvent.model_validate_json(formed.choices[0].message.content)

json_object = client.chat.completions.create(
    model=MODEL,
    messages=[{"role": "user", "content": 'Answer in JSON like {"colour": "red"}: which colour has the sky?'}],
    response_format={"type": "json_object"},
    temperature=0,
    max_tokens=64,
)
if json_object.choices[0].finish_reason == "stop":
    assert isinstance(json.loads(json_object.choices[0].message.content), dict), json_object
else:
    assert json_object.choices[0].message.content.lstrip().startswith("{"), json_object
