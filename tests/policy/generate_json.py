"""Cases that hold the engine's JSON scanner against a strict parser.

Each text gets a rule of its own that compares one scalar, somewhere inside the text, with what the strict parser found
there. So a decision shows both whether the engine accepts the text to its last byte and whether it extracts the same.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from tests.policy import strict_json
from tests.policy.expressions import Binary, Field, Index, Lit, Node, path
from tests.policy.generate import NOW, arbitrary_json, json_text, mutated
from tests.policy.generate_conditions import usual_document
from tests.policy.model import PolicyModel, Record, Request, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS_PER_POLICY = 100


def take(seed: int | str, count: int) -> Iterator[tuple[PolicyModel, list[Request]]]:
    """The first `count` texts of a seed, as policies with their requests."""
    random = Random(f"json-{seed}")
    while count > 0:
        texts = [_text(random) for _ in range(min(count, TEXTS_PER_POLICY))]
        count -= len(texts)
        rules = tuple(
            Rule(f"text-{number}", "allow", ("*",), (f"text:{number}",), probe(random, text))
            for number, text in enumerate(texts)
        )
        requests = [
            Request("agent", f"text:{number}", "consume", NOW, Record("texts", value=text))
            for number, text in enumerate(texts)
        ]
        yield PolicyModel(rules=rules), requests


def _text(random: Random) -> bytes:
    value = arbitrary_json(random) if random.random() < 0.5 else usual_document(random)
    text = json_text(random, value)
    return mutated(random, text) if random.random() < 0.5 else text


def probe(random: Random, text: bytes) -> Node:
    """A condition that holds exactly if the engine finds in `text` what the strict parser found."""
    node = path("event.value")
    try:
        value = strict_json.parse(text)
    except strict_json.StrictJsonError:
        # Whatever is read of a refused text errs; half of the probes read a field of it, half the whole.
        return Binary("==", Field(node, "amount") if random.random() < 0.5 else node, Lit(None))
    while isinstance(value, dict | list) and value:
        node, value = _step(random, node, value)
    if isinstance(value, dict | list):
        return Binary("!=", node, Lit(None))
    return Binary("==", node, Lit(value))


def _step(random: Random, node: Node, value: Any) -> tuple[Node, Any]:
    if isinstance(value, dict):
        name = random.choice(list(value))
        return Field(node, name), value[name]
    at = random.randrange(len(value))
    return Index(node, Lit(at)), value[at]
