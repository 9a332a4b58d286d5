"""The OpenAPI document against the server that it describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fer_edge.outputs import ServingSettings
from fer_edge.outputs.settings import WebSettings
from fer_edge.outputs.web.access import access_policy
from fer_edge.outputs.web.app import Dashboard
from fer_edge.outputs.web.assets import page
from fer_edge.outputs.web.state import DashboardState
from tests.edge.web_page import (
    ACTION,
    ASTRONAUT,
    STATUS,
    Answer,
    Feeder,
    Switch,
    ask,
    face,
    next_event,
    observation,
    serving,
    streaming,
)

DOCUMENT: dict[str, Any] = json.loads(page("openapi.json"))


def conforms(data: Any, schema: dict[str, Any]) -> None:
    """Check ``data``; OpenAPI 3.1's schemas are JSON Schema 2020-12."""
    Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(data)


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = DOCUMENT
        for key in node["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        node = found
    return node


def references(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_route_is_described_and_nothing_else() -> None:
    state = DashboardState(None, ServingSettings(), recording=False)
    dashboard = Dashboard(state, access_policy("localhost", "127.0.0.1", 1, None), ServingSettings())
    served = {(route.path, method) for route in dashboard.routes for method in (route.methods or set()) - {"HEAD"}}
    described = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert served == described


def test_the_document_is_whole() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert json.loads(page("openapi.json")) == DOCUMENT
    found = list(references(DOCUMENT))
    assert len(found) > 20
    for reference in found:
        assert resolve(reference)
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert set(operation["tags"]) <= tags
            for response in operation["responses"].values():
                assert resolve(response)["description"]
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def check(answer: Answer, path: str, method: str = "get") -> None:
    """Check that the document knows the answer's status, media type and content."""
    response = resolve(DOCUMENT["paths"][path][method]["responses"][str(answer.status)])
    content = response.get("content", {})
    if not content:
        return
    media_type = answer.headers["Content-Type"].partition(";")[0]
    assert media_type in content or "*/*" in content
    if media_type == "application/json":
        conforms(answer.json, content[media_type]["schema"])


def test_answers_are_as_described(tmp_path: Path) -> None:
    control = Switch()
    plain = ["/", "/dashboard", "/kiosk", "/api/state", "/api/history", "/healthz", "/readyz", "/openapi.json"]
    with serving(control) as output:
        for path in plain:
            check(ask(output, path), path)
        output.write(observation(0, face(), face(2, "sad", 0.4)), ASTRONAUT)
        output.status(STATUS)
        for path in plain:
            answer = ask(output, path)
            assert answer.status == 200
            check(answer, path)
            check(ask(output, path, headers={"Host": "evil.example"}), path)
        check(ask(output, "/static/base.css"), "/static/{name}")
        check(ask(output, "/static/nothing"), "/static/{name}")
        check(ask(output, "/signin", "POST"), "/signin", "post")
        for action in ("pause", "resume"):
            for headers in (ACTION, {}):
                check(ask(output, f"/api/{action}", "POST", headers), f"/api/{action}", "post")
    token = tmp_path / "token"
    token.write_text("correct-horse-battery-staple")
    with serving(settings=WebSettings(port=0, token_file=token)) as output:
        for path in plain:
            check(ask(output, path), path)
        check(ask(output, "/?token=correct-horse-battery-staple"), "/")
        check(ask(output, "/api/pause", "POST", ACTION), "/api/pause", "post")
        for path in ("/stream.mjpg", "/api/events"):
            answer = ask(output, path)
            assert answer.status == 401
            check(answer, path)


def test_events_are_as_described() -> None:
    control = Switch()
    schemas: dict[str, dict[str, Any]] = {
        "status": {"$ref": "#/components/schemas/Status"},
        "observation": {"oneOf": [{"$ref": "#/components/schemas/Observation"}, {"type": "null"}]},
        "second": {"$ref": "#/components/schemas/Second"},
        "message": {"type": "null"},
    }
    seen: set[str] = set()
    with serving(control) as output, Feeder(output, control), streaming(output, "/api/events") as stream:
        while seen != set(schemas):
            name, data = next_event(stream)
            conforms(data, schemas[name])
            seen.add(name)
        with streaming(output, "/stream.mjpg") as pictures:
            assert (
                pictures.headers["Content-Type"].partition(";")[0]
                in (DOCUMENT["paths"]["/stream.mjpg"]["get"]["responses"]["200"]["content"])
            )


def test_the_described_schemas_are_strict() -> None:
    with serving() as output:
        state = ask(output, "/api/state").json
    with pytest.raises(Exception, match="unknown_key"):
        conforms(state | {"unknown_key": 1}, {"$ref": "#/components/schemas/State"})
    del state["viewers"]
    with pytest.raises(Exception, match="viewers"):
        conforms(state, {"$ref": "#/components/schemas/State"})
