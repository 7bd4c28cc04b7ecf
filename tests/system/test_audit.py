"""Records of the kernel's audit: what they say is read exactly, what a script puts into them forges nothing."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selcgi.errors import BadRecord
from selcgi.system import audit
from selcgi.system.audit import AVC, SELINUX_ERR, Denial, decode, encode, parse

STAMP = "audit(1795641715.639:7): "
TAIL = (
    "scontext=system_u:system_r:user_webapp_t:s0:c1 tcontext=system_u:object_r:user_webapp_rw_t:s0:c2 "
    "tclass=file permissive=0"
)
READ = f'{STAMP}avc:  denied  {{ read }} for  pid=812 comm="cat" name="bob.txt" dev="ubda" ino=18442 {TAIL}'


def avc(fields: str, tail: str = TAIL) -> Denial:
    found = parse(AVC, f"{STAMP}avc:  denied  {{ read open }} for  pid=812 {fields} {tail}")
    assert found is not None
    return found


def test_a_refusal_is_read_in_full() -> None:
    assert parse(AVC, READ) == Denial(
        when=1795641715.639,
        serial=7,
        pid=812,
        comm="cat",
        permissions=("read",),
        source="system_u:system_r:user_webapp_t:s0:c1",
        target="system_u:object_r:user_webapp_rw_t:s0:c2",
        classname="file",
        fields={"name": "bob.txt", "dev": "ubda", "ino": "18442"},
    )
    assert parse(AVC, READ + "\n\0") == parse(AVC, READ)


def test_strings_that_need_it_are_hex() -> None:
    found = avc('comm="sh" path=2F746D702F61206222')
    assert (found.permissions, found.fields["path"]) == (("read", "open"), '/tmp/a b"')
    assert avc("comm=0A1B5B6D").comm == "\\n\\x1b[m", "nothing of it reaches a terminal as it is"
    assert avc('comm="sh" path=00612F62').fields["path"] == "\\x00a/b"  # an abstract socket
    assert avc("comm=C3A9FF").comm == "é\\xff"


def test_the_end_of_a_long_name_is_kept() -> None:
    found = avc(f'comm="sh" path="/{"a" * 4000}/report.txt"')
    assert found.fields["path"].endswith("/report.txt")
    assert len(found.fields["path"]) == 512


@pytest.mark.parametrize(
    "fields",
    [
        'comm="x" scontext=a:b:c:d',  # twice
        'comm="x" pid=1',
        'comm="x" name=zz',  # neither quoted nor hex
        'comm="x" name="a" b" dev="c"',
        "comm=",
        '="x"',
        'comm="x" pid',
    ],
)
def test_what_the_kernel_never_writes_is_refused(fields: str) -> None:
    with pytest.raises(BadRecord):
        avc(fields)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scontext=system_u", "scontexts=system_u"),
        ("system_u:system_r:user_webapp_t:s0:c1", "unlabelled"),
        ("tclass=file", "tclass=FILE"),
        ("tclass=file", ""),
        ("pid=812", "pid=x"),
        ("pid=812", "pid=٣"),
        ("avc:  denied ", "avc:  allowed "),
        ("audit(", "("),
        ("{ read }", "{ }"),
        ("639:7", "639"),
    ],
)
def test_half_a_record_is_none(old: str, new: str) -> None:
    assert old in READ
    with pytest.raises(BadRecord):
        parse(AVC, READ.replace(old, new))


def test_records_of_other_kinds_are_no_refusal() -> None:
    assert parse(1107, READ) is None  # USER_AVC: text of a program
    assert parse(1300, "audit(1.000:1): arch=c000003e") is None
    assert parse(AVC, READ.replace("denied", "granted")) is None
    assert parse(SELINUX_ERR, f'{STAMP}op=fscreate invalid_context="x"') is None


def test_what_the_security_server_could_not_do() -> None:
    text = f"{STAMP}op=security_compute_av reason=bounds {TAIL.partition(' permissive')[0]} perms=read,open"
    found = parse(SELINUX_ERR, text)
    assert found is not None
    assert (found.error, found.permissions, found.fields["reason"]) == (
        "security_compute_av",
        ("read", "open"),
        "bounds",
    )
    change = "seresult=denied oldcontext=a:b:c_t:s0 newcontext=a:b:d_t:s0"
    found = parse(SELINUX_ERR, f"{STAMP}op=security_bounded_transition {change}")
    assert found is not None
    assert (found.source, found.target, found.classname) == ("a:b:c_t:s0", "a:b:d_t:s0", "process")


@given(st.sampled_from([AVC, SELINUX_ERR]), st.text() | st.text().map(lambda text: READ + text))
def test_garbage_is_named_and_nothing_else(kind: int, text: str) -> None:
    with suppress(BadRecord):
        found = parse(kind, text)
        assert found is None or found.source in text


@given(st.binary(max_size=2000))
def test_no_name_of_a_file_or_program_forges_a_field(name: bytes) -> None:
    """Written as the kernel writes them: audit_log_n_untrustedstring."""
    plain = all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in name)
    written = f'"{name.decode("ascii")}"' if plain else name.hex().upper()
    found = avc(f"comm={written} name={written}")
    assert (found.source, found.target) == (parse(AVC, READ).source, parse(AVC, READ).target)  # type: ignore[union-attr]
    assert found.fields["name"].isprintable()
    assert set(found.fields) == {"name"}


def test_a_packet_is_read_as_it_was_sent() -> None:
    denial = avc('comm="cat" name="bob.txt"')
    assert decode(encode(denial, 3)) == (denial, 3)


def test_a_packet_fits_whatever_it_says() -> None:
    fields = " ".join(f"{name}={'FF' * 3000}" for name in ("path", "name", "dev", "ocomm"))
    denial = avc(f"comm={'FF' * 16} {fields}")
    assert len(encode(denial, 0)) <= audit.PACKET_BYTES
    assert decode(encode(denial, 0))[0].source == denial.source


@given(st.binary() | st.sampled_from([b"{}", b"[]", b'{"skipped": 1}', b'{"skipped": []}', b"[" * 100000]))
def test_no_packet_but_its_own_is_read(packet: bytes) -> None:
    with pytest.raises(BadRecord):
        decode(packet)
