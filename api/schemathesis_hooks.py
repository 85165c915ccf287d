"""Gives generated requests the ids of things that exist, which chance never finds.

What the server answers to creations and lists is remembered by the path it lives at; most requests
outside of stories then go to such a path in place of a generated one.
"""

import random
import re

import schemathesis
from schemathesis.generation.meta import TestPhase

# Things remembered for each kind of path: the newest, because older ones may be deleted by now.
THINGS_MAX = 20
# Share of the requests that keep what was generated.
AS_GENERATED = 0.2
PARAMETER = re.compile(r"\{([^}]+)\}")

known: dict[str, list[tuple[str, ...]]] = {}
chance = random.Random(1)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    meta = case.meta
    if meta is None or meta.phase.name == TestPhase.STATEFUL or chance.random() < AS_GENERATED:
        return
    parameters = list(PARAMETER.finditer(case.operation.path))
    for last in range(len(parameters), 0, -1):
        things = known.get(shape(case.operation.path[: parameters[last - 1].end()]))
        if things:
            names = [parameter.group(1) for parameter in parameters[:last]]
            case.path_parameters.update(zip(names, chance.choice(things)))
            return


@schemathesis.hook
def after_call(ctx, case, response):
    if response.status_code != 200 or case.method not in ("GET", "POST"):
        return
    try:
        payload = response.json().get("payload")
    except ValueError:
        return
    if not isinstance(payload, dict):
        return
    things = payload.get("list")
    for thing in things if isinstance(things, list) else [payload]:
        if isinstance(thing, dict) and isinstance(thing.get("id"), str):
            remember(case, thing["id"])


def remember(case, thing):
    """Below its parent, and by itself: `/orgs/{}/clusters/{}` is also `/clusters/{}`."""
    path = case.operation.path
    names = PARAMETER.findall(path)
    parents = tuple(str(case.path_parameters[name]) for name in names)
    keep(shape(path) + "/{}", (*parents, thing))
    keep("/api/v1/" + path.rsplit("/", 1)[-1] + "/{}", (thing,))


def keep(kind, ids):
    things = known.setdefault(kind, [])
    if ids not in things:
        things.append(ids)
        del things[:-THINGS_MAX]


def shape(path):
    return PARAMETER.sub("{}", path)
