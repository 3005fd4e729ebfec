"""OpenAI's SDK: embeddings, as base64, which is what the SDK asks for by itself, and as numbers."""

import math
import os

from openai import OpenAI

MODEL = os.environ["MODEL"]
TEXTS = [
    "The cat sat on the mat and looked at the birds.",
    "A cat is sitting on a rug, watching birds.",
    "Quarterly revenue grew by twelve percent.",
]

client = OpenAI()


def product(one, other):
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


one = client.embeddings.create(model=MODEL, input=TEXTS[0])
assert one.object == "list" and one.data[0].object == "embedding", one
assert one.usage.prompt_tokens == one.usage.total_tokens > 0, one.usage

several = client.embeddings.create(model=MODEL, input=TEXTS)
assert [item.index for item in several.data] == [0, 1, 2], several.data
vectors = [item.embedding for item in several.data]
assert all(abs(product(vector, vector) - 1) < 1e-3 for vector in vectors)
assert product(vectors[0], vectors[1]) > product(vectors[0], vectors[2]) + 0.05, vectors
assert product(one.data[0].embedding, vectors[0]) > 0.999

numbers = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
for item, vector in zip(numbers.data, vectors, strict=True):
    assert len(item.embedding) == len(vector) and product(item.embedding, vector) > 0.999, item
