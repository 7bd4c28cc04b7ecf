"""A policy in a file answers as the kernel does, says why, and no file that is none ends the program."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from selcgi.errors import PolicyUnreadable
from selcgi.system import reader
from selcgi.system.policyfile import PolicyFile, open_policy_file
from tests.guest import policy

pytestmark = pytest.mark.guest

LAUNCHER = "system_u:system_r:selcgi_t:s0"
ALICE = "system_u:system_r:user_webapp_t:s0:c1"
BOB = "system_u:system_r:user_webapp_t:s0:c2"
ALICES = "system_u:object_r:user_webapp_rw_t:s0:c1"
SCRIPT = "system_u:object_r:selcgi_script_exec_t:s0"
WEB_SERVER = "system_u:system_r:httpd_t:s0"


@pytest.fixture(scope="module")
def shipped() -> Iterator[PolicyFile]:
    with open_policy_file(policy.compiled() / "policy") as opened:
        yield opened


@pytest.mark.parametrize(
    ("source", "target", "classname", "permissions", "kind", "fix"),
    [
        (ALICE, LAUNCHER, "process", ["signal"], "rule", "(allow user_webapp_t selcgi_t (process (signal)))"),
        (LAUNCHER, ALICE, "process", ["noatsecure"], "rule", "(allow selcgi_t user_webapp_t (process (noatsecure)))"),
        (ALICE, BOB, "process", ["signal"], "constraint", "change a range"),
        (BOB, ALICES, "file", ["read"], "constraint", "change a range"),
        (LAUNCHER, ALICE.replace("system_u:system_r", "unconfined_u:unconfined_r"), "process", ["transition"],
         "constraint", "leave user and role out"),
        (WEB_SERVER, "system_u:object_r:postgresql_port_t:s0", "tcp_socket", ["name_connect"],
         "boolean", "setsebool -P httpd_can_network_connect"),
        (ALICE, "system_u:system_r:no_such_t:s0", "process", ["signal"], "type", "declares no_such_t"),
        (ALICE, LAUNCHER, "no_such_class", ["read"], "type", ""),
    ],
)  # fmt: skip
def test_why(
    shipped: PolicyFile, source: str, target: str, classname: str, permissions: list[str], kind: str, fix: str
) -> None:
    found = shipped.why(source, target, classname, permissions)
    assert found is not None
    assert found.kind == kind
    assert fix in found.fix


def test_what_is_allowed_needs_no_reason_and_is_left_out_of_one(shipped: PolicyFile) -> None:
    assert shipped.why(LAUNCHER, ALICE, "process", ["transition"]) is None
    found = shipped.why(ALICE, LAUNCHER, "fifo_file", ["read", "create"])
    assert found is not None
    assert "{ create }" in found.text


def test_a_boolean_that_is_on_counts(tmp_path: Path, shipped: PolicyFile) -> None:
    asked = (ALICE, "system_u:object_r:selcgi_conf_t:s0", "file")
    found = shipped.why(*asked, ["write"])
    assert found is not None
    assert found.fix == "setsebool -P plant_write on"
    with open_policy_file(policy.planted(policy.compiled() / "policy", "plant_write", tmp_path / "policy")) as opened:
        assert opened.vector(*asked).allowed == {"write"}
        assert opened.why(*asked, ["write"]) is None
    assert not shipped.vector(*asked).allowed


def test_new_files_and_processes_get_what_the_kernel_would_give(shipped: PolicyFile) -> None:
    spool = shipped.created(LAUNCHER, "system_u:object_r:tmp_t:s0", "file")
    assert spool == "system_u:object_r:selcgi_spool_t:s0"
    assert shipped.created("system_u:system_r:init_t:s0", "system_u:object_r:selcgi_exec_t:s0", "process") == LAUNCHER
    assert shipped.created(ALICE, "system_u:object_r:selcgi_public_content_t:s0", "file").endswith("content_t:s0:c1")
    assert shipped.created(ALICE, ALICE, "unix_stream_socket") == ALICE


def test_what_one_context_may_do_to_another_is_whole_and_has_its_rules(shipped: PolicyFile) -> None:
    found = {access.classname: access for access in shipped.between(ALICE, LAUNCHER)}
    assert set(found) == {"fd", "fifo_file"}
    assert found["fd"].permissions == ("use",)
    rules = shipped.rules("user_webapp_t", "selcgi_t", "fd", ["use"])
    assert rules == ("allow selcgi_webapp selcgi_t:fd use;",)


def test_paths_are_those_of_rules_in_force(shipped: PolicyFile, tmp_path: Path) -> None:
    assert shipped.paths(["user_webapp_t"], ["httpd_t"]) == ()
    (path,) = shipped.paths(["init_t"], ["selcgi_t"])
    assert path[-1].target == "selcgi_t"
    with open_policy_file(policy.planted(policy.compiled() / "policy", "plant_steps", tmp_path / "policy")) as opened:
        (path,) = opened.paths(["user_webapp_t"], ["httpd_t"])
    assert [(step.source, step.target) for step in path] == [
        ("user_webapp_t", "plant_middle_t"),
        ("plant_middle_t", "httpd_t"),
    ]
    assert path[0].entries == ("plant_middle_exec_t",)


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x8f\xff\x7c\xf9a module", b"\0" * 4096])
def test_what_is_no_policy_is_not_given_to_libsepol(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "policy").write_bytes(content)
    with pytest.raises(PolicyUnreadable, match="no binary policy"), open_policy_file(tmp_path / "policy"):
        pass


@pytest.mark.parametrize("place", ["/dev/null", "/", "/nonexistent"])
def test_what_is_no_file_is_named(place: str) -> None:
    with pytest.raises(PolicyUnreadable, match=place), open_policy_file(Path(place)):
        pass


def test_a_policy_that_is_too_new_says_so(tmp_path: Path) -> None:
    data = bytearray((policy.compiled() / "policy").read_bytes())
    data[16:20] = (99).to_bytes(4, "little")
    (tmp_path / "policy").write_bytes(data)
    with pytest.raises(PolicyUnreadable, match="version 99") as raised, open_policy_file(tmp_path / "policy"):
        pass
    assert "policy-version=" in raised.value.fix


def test_a_damaged_policy_is_refused_or_read_and_ends_nothing(tmp_path: Path) -> None:
    """libsepol may read it, refuse it, or die of it: the caller gets an answer or PolicyUnreadable."""
    data, rng, refused = (policy.compiled() / "policy").read_bytes(), random.Random(7), list[str]()
    for number in range(12):
        damaged = bytearray(data if number % 3 else data[: rng.randrange(20, len(data))])
        for _ in range(rng.choice((1, 30, 3000))):
            damaged[rng.randrange(16, len(damaged))] = rng.randrange(256)
        (tmp_path / "policy").write_bytes(damaged)
        try:
            with open_policy_file(tmp_path / "policy") as opened:
                opened.vector(ALICE, BOB, "process")
                opened.paths(["user_webapp_t"], ["selcgi_t"])
        except PolicyUnreadable as error:
            refused.append(error.reason)
    assert refused
    assert all(str(tmp_path) in words for words in refused)


def test_a_python_without_the_modules_is_named_with_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "python3"
    bare.write_text('#!/bin/sh\nexec /usr/bin/python3 -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(reader, "PYTHONS", (str(bare),))
    with pytest.raises(PolicyUnreadable) as raised, open_policy_file(policy.compiled() / "policy"):
        pass
    assert str(bare) in raised.value.reason
    assert "python3-setools" in raised.value.fix


def test_the_reader_is_gone_afterwards() -> None:
    def readers() -> str:
        return Path("/proc/self/task", str(os.getpid()), "children").read_text()

    before = readers()
    with open_policy_file(policy.compiled() / "policy"):
        assert readers() != before
    assert readers() == before
