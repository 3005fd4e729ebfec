"""langchain-openai: a chat model invoked, streamed, with tools and in a form, and embeddings."""

import os
from typing import Literal

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

MODEL = os.environ["MODEL"]

llm = ChatOpenAI(model=MODEL, temperature=0, max_tokens=48)
messages = [
    ("system", "You are a helpful assistant that translates English to French."),
    ("human", "I love programming."),
]
answer = llm.invoke(messages)
assert answer.content and answer.usage_metadata["output_tokens"] > 0, answer
assert answer.response_metadata["finish_reason"] in ("stop", "length"), answer

chunks = list(llm.stream("hello"))
assert len(chunks) > 2 and "".join(chunk.content for chunk in chunks) == llm.invoke("hello").content, chunks


@tool
def light(when: Literal["day", "night"]) -> str:
    """Tell whether it is light by day or by night."""
    return "light" if when == "day" else "dark"


conversation = [HumanMessage("Is it light by day?")]
called = llm.bind_tools([light], tool_choice="light", strict=True).invoke(conversation)
[call] = called.tool_calls
assert call["name"] == "light", called
result = light.invoke(call)
assert isinstance(result, ToolMessage) and result.content in ("light", "dark"), result
answer = llm.bind_tools([light], tool_choice="none", strict=True).invoke([*conversation, called, result])
assert answer.content and not answer.tool_calls, answer


class Grade(BaseModel):
    """How good a joke is."""

    rating: Literal["good", "bad"] = Field(description="How good the joke is")


structured = llm.with_structured_output(Grade)
assert isinstance(structured.invoke("Rate this joke: what has four wheels and flies? A garbage truck."), Grade)

embeddings = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False)
vector = embeddings.embed_query("What is the meaning of life?")
vectors = embeddings.embed_documents(["What is the meaning of life?", "Dinner is at eight."])
assert len(vectors) == 2 and len(vector) == len(vectors[0]) > 100, len(vector)
assert sum(a * b for a, b in zip(vector, vectors[0], strict=True)) > 0.999
