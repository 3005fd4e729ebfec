"""litellm: OpenAI's and Anthropic's shapes under one function."""

import os

import litellm
from litellm import completion, embedding

MODEL = os.environ["MODEL"]
MESSAGES = [{"role": "user", "content": "hello"}]

for model in ("openai/gpt-4o", "anthropic/claude-sonnet-4-20250514"):
    request = dict(model=model, messages=MESSAGES, max_tokens=24, temperature=0)
    response = completion(**request)
    text = response.choices[0].message.content
    assert text and response.usage.completion_tokens > 0, response
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in completion(**request, stream=True))
    assert streamed == text, (model, streamed, text)

    tools = [
        {
            "type": "function",
            "function": {
                "name": "light",
                "description": "Tell whether it is light.",
                "parameters": {
                    "type": "object",
                    "properties": {"when": {"type": "string", "enum": ["day", "night"]}},
                    "required": ["when"],
                    "additionalProperties": False,
                },
            },
        }
    ]
    choice = {"type": "function", "function": {"name": "light"}}
    called = completion(**request, tools=tools, tool_choice=choice)
    assert called.choices[0].message.tool_calls[0].function.name == "light", called

    try:
        completion(**request, api_key="rbee_wrong")
        raise AssertionError(f"{model} took a wrong key")
    except litellm.AuthenticationError:
        pass

embedded = embedding(model=f"openai/{MODEL}", input=["good morning from litellm", "good night"])
assert [item["index"] for item in embedded.data] == [0, 1], embedded
assert all(len(item["embedding"]) > 100 for item in embedded.data), embedded
