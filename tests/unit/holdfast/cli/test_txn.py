"""holdfast.cli.txn: a transaction as JSON; a mistake is named by its place."""

from __future__ import annotations

import json

import pytest
from holdfast.cli.txn import SpecError, parse

from tests.unit.holdfast.cli.console import Console

SWAP = {
    "compares": [{"key": "k", "revision": 1}],
    "then": [
        {"put": {"key": "k", "value": "on", "ttl": "1h", "previous": True}},
        {"increment": {"key": "n", "by": 2}},
        {"get": {"key": "n"}},
        {"delete": {"key": "n"}},
    ],
    "otherwise": [{"get": {"key": "k"}}],
}


def test_then_is_done_when_the_compares_hold():
    """The results come one for each step, in order."""
    console = Console()
    console.run("put", "k", "off")

    found = json.loads(console.run("txn", "-", given=json.dumps(SWAP)).stdout)

    assert found["succeeded"] is True
    assert [step["step"] for step in found["results"]] == ["put", "increment", "get", "delete"]
    assert found["results"][0]["previous"] == "off"
    assert found["results"][2]["value"] == "2"
    assert console.json("get", "k")["ttl_ms"] == 3_600_000


def test_otherwise_is_done_when_they_do_not_and_the_exit_code_is_1():
    """A script can tell which branch was taken."""
    console = Console()

    result = console.run("txn", "-", given=json.dumps(SWAP))

    assert (result.exit_code, json.loads(result.stdout)["succeeded"]) == (1, False)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], "a transaction is"),
        ({"than": []}, "than"),
        ({"then": {}}, "then: must be a list"),
        ({"then": ["x"]}, "then[0]"),
        ({"then": [{"get": {"key": "a"}, "put": {}}]}, "then[0]"),
        ({"then": [{"get": {"key": "a", "level": "any"}}]}, "then[0].get.level"),
        ({"then": [{"put": {"key": "a"}}]}, "then[0].put.value"),
        ({"then": [{"put": {"key": "a", "value": 1}}]}, "then[0].put.value"),
        ({"then": [{"put": {"key": "a", "value": "1", "ttl": "soon"}}]}, "then[0].put.ttl"),
        ({"then": [{"increment": {"key": "a", "by": True}}]}, "then[0].increment.by"),
        ({"compares": [{"key": "a"}]}, "compares[0]"),
        ({"compares": [{"key": "a", "revision": -1}]}, "compares[0].revision"),
        ({"compares": [{"key": "a", "exists": 1}]}, "compares[0].exists"),
        ({"compares": [{"exists": True}]}, "compares[0].key"),
    ],
)
def test_a_mistake_is_named_by_its_place(document, place):
    """A person sees which entry of which list is wrong."""
    with pytest.raises(SpecError) as caught:
        parse(document)

    assert str(caught.value).startswith(place)


@pytest.mark.parametrize("text", ["nope", '{"then": "x"}', '{"then": [{"get": {"key": ""}}]}'])
def test_a_bad_spec_is_wrong_usage_and_asks_nobody(text):
    """Exit code 2 before anything is sent."""
    console = Console()

    assert console.run("txn", "-", given=text).exit_code == 2
    assert console.asked == []
