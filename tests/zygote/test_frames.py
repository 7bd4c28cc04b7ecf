"""A job on its way from the worker to a zygote's child: every byte of it, and hardly more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selcgi.zygote.frames import JOB_BYTES, Job, decode_job, encode_job, length_of_job

WORDS = st.binary(max_size=40).map(lambda word: word.replace(b"\0", b""))


@given(st.lists(WORDS), st.dictionaries(WORDS, WORDS), st.none() | st.integers(-20, 19))
def test_a_job_arrives_as_it_was(argv: list[bytes], environ: dict[bytes, bytes], nice: int | None) -> None:
    job = Job(tuple(argv), environ, "u:r:t:s0:c1", ((1, (2, 3)),), nice)
    data = encode_job(job)
    assert decode_job(data) == job
    assert list(decode_job(data).environ) == list(environ)
    assert length_of_job(data) == len(data) - 4


@pytest.mark.parametrize("byte", [b"x", b"\x01", b"\xff", b'"'])
def test_no_byte_makes_it_much_longer(byte: bytes) -> None:
    data = encode_job(Job((b"script",), {b"HTTP_X": byte * 100_000}, "", (), None))
    assert len(data) < 100_100


@pytest.mark.parametrize("value", [b"one\0two", b"\0", b"x" * JOB_BYTES])
def test_what_is_no_variable_or_too_long_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="words"):
        encode_job(Job((b"script",), {b"NAME": value}, "", (), None))
