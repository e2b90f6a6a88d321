"""The same question put to other policy engines: may `agent` consume topic number i, given n grants?

Each engine gets its policies the way its documentation recommends and everything that can be prepared is prepared:
only the decision is timed. The optional group `peers` brings the packages (`make bench` installs it).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Decide: TypeAlias = Callable[[int], bool]
"""Decides for topic number i, through the engine's own API."""

IDENTITY = "agent"

CASBIN_MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
"""

REGO_MODULE = """
package bench
import rego.v1
allow if data.grants[input.identity][input.topic]
"""


def chio_fast(grants: int) -> Decide:
    """Our own policy, through `Policy.decide`, which gives a whole decision with rule and reason."""
    from chio_fast import Policy

    capabilities = [f"events:consume:topic-{number}" for number in range(grants)]
    policy = Policy.from_dict({"chio": "policy/v1", "identities": {IDENTITY: {"capabilities": capabilities}}})
    return lambda number: bool(policy.decide(IDENTITY, f"events:consume:topic-{number}"))


def cedar(grants: int) -> Decide:
    """Cedar (cedarpy), policies and entities parsed once."""
    import cedarpy

    head = f'permit(principal == Agent::"{IDENTITY}", action == Action::"consume", resource == Topic::"topic-'
    policies = cedarpy.PolicySet.from_str("\n".join(f'{head}{number}");' for number in range(grants)))
    entities = cedarpy.Entities.from_json_str("[]")

    def decide(number: int) -> bool:
        request = {
            "principal": f'Agent::"{IDENTITY}"',
            "action": 'Action::"consume"',
            "resource": f'Topic::"topic-{number}"',
            "context": {},
        }
        return bool(cedarpy.is_authorized(request, policies, entities).allowed)

    return decide


def casbin(grants: int) -> Decide:
    """Casbin (pycasbin), one policy line per grant."""
    from casbin import Enforcer, Model

    model = Model()
    model.load_model_from_text(CASBIN_MODEL)
    enforcer = Enforcer(model)
    enforcer.add_policies([[IDENTITY, f"topic-{number}", "consume"] for number in range(grants)])
    return lambda number: bool(enforcer.enforce(IDENTITY, f"topic-{number}", "consume"))


def rego(grants: int) -> Decide:
    """Rego (regopy), compiled once into a bundle, the grants as data that the rule looks up."""
    from regopy import Interpreter

    engine = Interpreter()
    engine.add_data({"grants": {IDENTITY: {f"topic-{number}": True for number in range(grants)}}})
    engine.add_module("bench", REGO_MODULE)
    bundle = engine.build("data.bench.allow", [])

    def decide(number: int) -> bool:
        engine.set_input({"identity": IDENTITY, "topic": f"topic-{number}"})
        return str(engine.query_bundle(bundle)) == '{"expressions":[true]}'

    return decide


ENGINES: dict[str, Callable[[int], Decide]] = {
    "chio_fast": chio_fast,
    "cedarpy": cedar,
    "pycasbin": casbin,
    "regopy": rego,
}
