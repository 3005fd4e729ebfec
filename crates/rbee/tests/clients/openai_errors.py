"""OpenAI's SDK: each refusal is the error class that programs catch."""

import os

from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI

MODEL = os.environ["MODEL"]
MESSAGES = [{"role": "user", "content": "hello"}]

client = OpenAI()


def check(expected, call):
    try:
        answer = call()
    except expected as error:
        assert type(error) is expected, repr(error)
        assert error.body["message"] and error.body["type"], error.body
        return error
    raise AssertionError(f"{expected.__name__} was expected instead of {answer}")


def chat(**fields):
    return lambda: client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **fields})


stranger = OpenAI(api_key="rbee_" + 64 * "0")
error = check(AuthenticationError, lambda: stranger.models.list())
assert error.code == "invalid_api_key", error.body
check(AuthenticationError, lambda: stranger.chat.completions.create(model=MODEL, messages=MESSAGES))
check(AuthenticationError, lambda: stranger.responses.create(model=MODEL, input="hello"))

assert check(BadRequestError, chat(temperature="hot")).param == "temperature"
assert check(BadRequestError, chat(temperature="hot", stream=True)).param == "temperature"
check(BadRequestError, chat(messages=[]))
check(BadRequestError, chat(messages=[{"role": "nobody", "content": "hello"}]))
check(BadRequestError, lambda: client.embeddings.create(model=MODEL, input=[]))
check(BadRequestError, lambda: client.responses.create(model=MODEL, input=[{"type": "nothing"}]))

# Programs shorten their conversations when they are told so.
long = [{"role": "user", "content": 20_000 * "word "}]
assert check(BadRequestError, chat(messages=long)).code == "context_length_exceeded"

check(NotFoundError, lambda: client.responses.cancel("resp_00000000000000000000000000000000"))
