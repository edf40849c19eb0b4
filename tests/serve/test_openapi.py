"""openapi.json and the server agree: the same routes, and every message is what the file says."""

import json
from importlib.resources import files

import pytest
from aiohttp import web

from marotte.runtime.live.segment import to_int16
from marotte.runtime.testing import speech_like

DOCUMENT = json.loads((files("marotte.runtime.serve") / "openapi.json").read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def faults(value, schema, place="$"):
    """Yield what a value breaks of a schema, in the part of JSON Schema that the file uses."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema:
        tried = [list(faults(value, each, place)) for each in schema["oneOf"]]
        if sum(not each for each in tried) != 1:
            yield f"{place}: {value!r} fits {sum(not each for each in tried)} of {len(tried)}"
    if "const" in schema and value != schema["const"]:
        yield f"{place}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is none of {schema['enum']}"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, TYPES[k]) and (k == "boolean") >= isinstance(value, bool) for k in kinds):
        yield f"{place}: {value!r} is not {kinds}"
        return
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{place}: no {name}"
        for name, each in value.items():
            if name in known or more is not True:
                if name not in known and more is False:
                    yield f"{place}: {name} is not described"
                    continue
                yield from faults(each, known.get(name, more), f"{place}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, each in enumerate(value):
            yield from faults(each, schema["items"], f"{place}[{index}]")
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{place}: {value} is out of range"


def check(value, name):
    assert not list(faults(value, SCHEMAS[name])), name


def test_the_checker_finds_faults():
    assert list(faults({"type": "end", "now": 1}, SCHEMAS["ControlIn"]))
    assert list(faults({"type": "speak", "rate": 5}, SCHEMAS["ControlIn"]))
    assert list(faults({"error": None}, SCHEMAS["Error"])) and list(faults({}, SCHEMAS["Error"]))
    assert not list(faults({"type": "speak", "turn": "a"}, SCHEMAS["ControlIn"]))


def test_every_reference_leads_somewhere():
    def walk(value):
        if isinstance(value, dict):
            if isinstance(name := value.get("$ref"), str):
                assert name.rpartition("/")[2] in SCHEMAS
            for each in value.values():
                walk(each)
        if isinstance(value, list):
            for each in value:
                walk(each)

    walk(DOCUMENT)


def test_every_route_is_described_and_back(serving):
    async def work(client):
        routes = {
            (route.resource.canonical, route.method.lower())
            for route in client.listening.app.router.routes()
            if isinstance(route, web.AbstractRoute)
        }
        described = {
            (path, method)
            for path, methods in DOCUMENT["paths"].items()
            for method in methods
            if method not in ("parameters",)
        }
        assert routes == described
        async with client.http.get("/openapi.json") as response:
            assert await response.json() == DOCUMENT

    serving(work)


def test_what_the_server_says_is_what_is_described(serving, tools):
    seen, out = set(), SCHEMAS["ControlOut"]["oneOf"]

    async def work(client):
        async def get(path, name, status=200):
            async with client.http.get(path) as response:
                assert response.status == status
                check(await response.json(), name)

        await get("/healthz", "Health")
        await get("/v1/options", "Options")
        await get("/v1/sessions/none", "Error", 404)
        session = await client.open(size="80x64", fps=30)
        check(session, "Session")
        await get(session["urls"]["self"], "About")
        async with client.http.patch(session["urls"]["self"], json={"expressiveness": 1}) as response:
            check(await response.json(), "About")
        async with client.control(session) as control:

            async def send(message):
                check(message, "ControlIn")
                await control.send_json(message)

            async def hear(kind):
                while True:
                    message = await control.receive_json(timeout=10)
                    check(message, "ControlOut")
                    seen.add(message["type"])
                    if message["type"] == kind:
                        return

            await hear("ready")
            await send({"type": "set", "head_motion": 0.5})
            await hear("settings")
            second = await client.open(beside=session["id"], expressiveness=2)
            check(second, "Session")
            await hear("twin")
            await client.end(second)
            await send({"type": "microphone", "on": True})
            await hear("microphone")
            await send({"type": "interrupt"})
            await hear("finished")
            await send({"type": "speak", "rate": 16000, "stream": True})
            await control.send_bytes(to_int16(speech_like(0.3)).tobytes())
            await hear("started")
            await hear("ran_dry")
            await send({"type": "end"})
            await hear("finished")
            await hear("metrics")
            await control.send_str("?")
            await hear("error")
            await client.end(session)
            await hear("closed")
        described = {SCHEMAS[each["$ref"].rpartition("/")[2]]["properties"]["type"]["const"] for each in out}
        assert seen == described

    serving(work)


@pytest.mark.parametrize("asked", [{"size": "80x64"}, {"size": [80, 64]}, {"size": 80}, {"fps": "30000/1001"}])
def test_what_may_be_asked_is_described(asked):
    check(asked, "Asked")
