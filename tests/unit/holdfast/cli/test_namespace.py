"""holdfast.cli.namespace: policies as typed, and no namespace goes by mistake."""

from __future__ import annotations

import pytest
from holdfast.cli import namespace
from holdfast.v1 import placement_pb2 as pb

from tests.unit.holdfast.cli.console import Console, serving
from tests.unit.holdfast.cli.scripted_admin import ScriptedAdmin

FIELDS = {
    "name", "budget_bytes", "eviction", "strict_ttl", "replicas", "unit_parts", "unit_separator", "hashed",
    "shards", "keys", "bytes",
}  # fmt: skip
FLEET = pb.Namespace(name="fleet", replicas=3, shards=2, keys=9, bytes=900)


def service():
    return ScriptedAdmin(
        ListNamespaces=pb.ListNamespacesResponse(namespaces=[FLEET, pb.Namespace(name="default")]),
        CreateNamespace=pb.CreateNamespaceResponse(namespace=FLEET),
        SetNamespace=pb.SetNamespaceResponse(namespace=FLEET, explanation="its budget doubles"),
        DeleteNamespace=pb.DeleteNamespaceResponse(namespace=FLEET),
    )


def ask(scripted, *words, given=None):
    with serving(scripted) as address:
        return Console().run("namespace", *words, "--endpoints", address, given=given)


def test_a_namespace_is_made_with_what_was_typed():
    """Budget, eviction, ttl, replicas, unit, hashing and shards."""
    scripted = service()

    result = ask(
        scripted, "create", "serials", "--budget", "256MiB", "--noevict", "--strict-ttl", "--replicas", "5",
        "--unit", "2", "--hashed", "--shards", "8",
    )  # fmt: skip

    wanted = pb.Namespace(
        name="serials", budget_bytes=256 << 20, eviction=pb.Namespace.EVICTION_NOEVICT, strict_ttl=True,
        replicas=5, unit_parts=2, unit_separator=b"/", hashed=True,
    )  # fmt: skip
    assert result.exit_code == 0
    assert scripted.requests("CreateNamespace") == [pb.CreateNamespaceRequest(namespace=wanted, shards=8)]


def test_cuts_say_where_the_shards_begin():
    """Their number follows; they are sent in order."""
    scripted = service()

    ask(scripted, "create", "fleet", "--cut", "m", "--cut", "d", "--dry-run")

    (request,) = scripted.requests("CreateNamespace")
    assert (list(request.cuts), request.shards, request.dry_run) == ([b"d", b"m"], 3, True)


@pytest.mark.parametrize(
    "words",
    [
        ("create", "Fleet"), ("create", "a", "--hashed", "--cut", "m"), ("create", "a", "--shards", "3"),
        ("create", "a", "--cut", "m", "--shards", "3"), ("create", "a", "--budget", "much"),
        ("create", "a", "--unit-separator", "::"), ("set", "fleet"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_not_asked(words):
    """Wrong usage is exit code 2, and no node hears of it."""
    scripted = service()

    assert ask(scripted, *words).exit_code == 2
    assert scripted.asked == []


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--budget", "512MiB"), pb.SetNamespaceRequest(name="fleet", budget_bytes=512 << 20)),
        (("--evict",), pb.SetNamespaceRequest(name="fleet", eviction=pb.Namespace.EVICTION_CLOCK)),
        (("--noevict",), pb.SetNamespaceRequest(name="fleet", eviction=pb.Namespace.EVICTION_NOEVICT)),
        (("--no-strict-ttl",), pb.SetNamespaceRequest(name="fleet", strict_ttl=False)),
        (("--replicas", "5", "--dry-run"), pb.SetNamespaceRequest(name="fleet", replicas=5, dry_run=True)),
    ],
)
def test_a_policy_is_changed_where_named(words, asked):
    """What is not named stays: absent is not false."""
    scripted = service()

    assert "its budget doubles" in ask(scripted, "set", "fleet", *words).stderr
    assert scripted.requests("SetNamespace") == [asked]


def test_list_and_show_have_the_promised_fields():
    """By name; null for what is the default, words for what is unset."""
    with serving(service()) as address:
        rows = Console().json("namespace", "list", "--endpoints", address)
        one = Console().json("namespace", "show", "fleet", "--endpoints", address)
        missing = Console().run("namespace", "show", "flet", "--endpoints", address)

    assert [row["name"] for row in rows] == ["default", "fleet"]
    assert set(rows[0]) == set(one) == FIELDS
    assert (rows[0]["eviction"], rows[0]["budget_bytes"], rows[0]["unit_separator"]) == ("clock", None, "/")
    assert (missing.exit_code, "there are default, fleet" in missing.stderr) == (1, True)


def test_a_namespace_is_deleted_only_when_its_name_is_repeated():
    """In a script by --confirm; a name that differs is no consent."""
    scripted = service()

    assert ask(scripted, "delete", "fleet").exit_code == 2
    assert ask(scripted, "delete", "fleet", "--confirm", "fleat").exit_code == 2
    assert scripted.asked == []
    assert ask(scripted, "delete", "fleet", "--confirm", "fleet").exit_code == 0
    assert scripted.requests("DeleteNamespace") == [pb.DeleteNamespaceRequest(name="fleet", confirm="fleet")]


def test_a_person_is_asked_for_the_name(monkeypatch):
    """On a terminal the name is asked for once more."""
    monkeypatch.setattr(namespace, "_is_asked_by_a_person", lambda: True)
    scripted = service()

    assert ask(scripted, "delete", "fleet", given="no\n").exit_code == 2
    assert scripted.asked == []
    assert ask(scripted, "delete", "fleet", given="fleet\n").exit_code == 0


def test_a_dry_run_of_a_delete_needs_no_consent():
    """Nothing goes, so nothing is asked."""
    scripted = service()

    assert ask(scripted, "delete", "fleet", "--dry-run").exit_code == 0
    assert scripted.requests("DeleteNamespace")[0].dry_run
