"""Ollama's client: generate and chat, whole and streamed, embeddings, and what is told of models."""

import json
import math
import os
import urllib.request

import ollama
from ollama import ChatResponse, Client, chat
from pydantic import BaseModel, ConfigDict

MODEL = os.environ["MODEL"]
HELLO = [{"role": "user", "content": "hello"}]
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
OPTIONS = {"temperature": 0, "seed": 1, "num_predict": 32}



def product(one, other):
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


# The README's example, with the name of a model that is Ollama's.
response: ChatResponse = chat(model="gemma4", messages=QUESTION, options=OPTIONS)
assert response["message"]["content"] == response.message.content != "", response
assert response.done and response.done_reason in ("stop", "length"), response
assert response.eval_count > 0 and response.prompt_eval_count > 0, response
assert response.eval_duration > 0 and response.total_duration > 0, response

whole = chat(model=MODEL, messages=HELLO, options=OPTIONS)
parts = list(chat(model=MODEL, messages=HELLO, options=OPTIONS, stream=True))
assert "".join(part.message.content for part in parts) == whole.message.content, parts
assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True], parts
assert parts[-1].eval_count == whole.eval_count, parts[-1]

generated = ollama.generate(model=MODEL, prompt="hello", options=OPTIONS)
assert generated.response == whole.message.content and generated.done, generated
parts = list(ollama.generate(model=MODEL, prompt="hello", options=OPTIONS, stream=True))
assert "".join(part.response for part in parts) == generated.response, parts
raw = ollama.generate(model=MODEL, prompt="One, two, three,", raw=True, options=OPTIONS)
assert "four" in raw.response, raw


class Sky(BaseModel):
    model_config = ConfigDict(extra="forbid")

    is_blue: bool
    clouds: int


formed = chat(model=MODEL, messages=QUESTION, format=Sky.model_json_schema(), options=OPTIONS)
Sky.model_validate_json(formed.message.content)

texts = ["A cat sat on the mat.", "A cat is sitting on a rug.", "Revenue grew by twelve percent."]
vectors = ollama.embed(model=MODEL, input=texts).embeddings
assert len(vectors) == 3 and product(vectors[0], vectors[1]) > product(vectors[0], vectors[2]), vectors
[single] = ollama.embed(model=MODEL, input=texts[0]).embeddings
assert product(single, vectors[0]) > 0.999

listed = ollama.list().models
assert [model.model for model in listed if model.model.split(":")[0] == MODEL], listed
assert all(model.size > 0 for model in listed), listed
shown = ollama.show(MODEL)
assert shown.details.format == "gguf", shown
[running] = ollama.ps().models
assert running.model.split(":")[0] == MODEL and running.size > 0, running

assert ollama.pull(MODEL).status == "success"
assert [progress.status for progress in ollama.pull(MODEL, stream=True)][-1] == "success"

host = os.environ["OLLAMA_HOST"]
with urllib.request.urlopen(f"{host}/api/version") as version:
    assert json.load(version)["version"]

try:
    Client().chat(model=MODEL, messages=[{"role": "nobody", "content": "hello"}])
    raise AssertionError("a role that there is not was taken")
except ollama.ResponseError as error:
    assert error.status_code == 400 and error.error, error
