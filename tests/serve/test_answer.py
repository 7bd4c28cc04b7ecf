"""Nothing leaves before the head is whole; no more than the script promised, and less is an error."""

import pytest

from selcgi.errors import BadResponse
from selcgi.serve.accesslog import Entry
from selcgi.serve.answer import Answer

HEAD = b"Content-Type: text/plain\n"


def taken(answer: Answer, *pieces: bytes) -> bytes:
    for piece in pieces:
        answer.feed(piece)
    return answer.take()


def test_a_head_that_is_not_whole_is_held() -> None:
    answer = Answer(1000, False)
    assert taken(answer, HEAD) == b""
    assert (answer.sent, answer.held_bytes) == (False, 0)
    assert taken(answer, b"\nbody") == b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nbody"
    assert (answer.sent, answer.body_bytes) == (True, 4)


def test_what_was_taken_is_not_given_twice() -> None:
    answer = Answer(1000, False)
    assert taken(answer, HEAD + b"\none").endswith(b"one")
    assert answer.take() == b""
    assert taken(answer, b"two") == b"two"


def test_held_bytes_are_counted_until_taken() -> None:
    answer = Answer(1000, False)
    answer.feed(HEAD + b"\n")
    head = answer.held_bytes
    answer.feed(b"x" * 500)
    assert answer.held_bytes == head + 500
    answer.take()
    assert answer.held_bytes == 0


@pytest.mark.parametrize(("body", "sent", "surplus"), [(b"12345", b"12345", 0), (b"1234567", b"12345", 2)])
def test_a_body_is_cut_where_its_length_says(body: bytes, sent: bytes, surplus: int) -> None:
    answer = Answer(1000, False)
    answer.feed(HEAD + b"Content-Length: 5\n\n")
    answer.feed(body[:3])
    answer.feed(body[3:])
    answer.feed(b"")
    answer.finish()
    assert answer.take().partition(b"\r\n\r\n")[2] == sent
    assert answer.surplus == surplus


def test_a_body_that_is_too_short_is_an_error() -> None:
    answer = Answer(1000, False)
    answer.feed(HEAD + b"Content-Length: 5\n\n1234")
    with pytest.raises(BadResponse, match="promised Content-Length 5 and wrote 4"):
        answer.finish()


@pytest.mark.parametrize(
    ("output", "whole"),
    [
        (b"", False),
        (HEAD, False),
        (HEAD + b"\nsome", False),
        (HEAD + b"Content-Length: 5\n\n1234", False),
        (HEAD + b"Content-Length: 5\n\n12345", True),
    ],
)
def test_the_death_of_its_script_is_an_error_unless_a_length_says_that_all_is_there(output: bytes, whole: bool) -> None:
    answer = Answer(1000, False)
    answer.feed(output)
    if whole:
        answer.finish(signum=11)
        return
    with pytest.raises(BadResponse, match=r"ended by SIGSEGV \(Segmentation fault\)"):
        answer.finish(signum=11)


def test_the_answer_to_head_has_its_length_and_no_body() -> None:
    answer = Answer(1000, False, bodiless=True)
    assert taken(answer, HEAD + b"Content-Length: 5\n\n12345").endswith(b"Content-Length: 5\r\n\r\n")
    answer.finish()
    assert answer.surplus == 5


@pytest.mark.parametrize("data", [b"", b"no head at all\n\n", HEAD])
def test_no_head_is_an_error_at_the_end(data: bytes) -> None:
    answer = Answer(1000, False)
    with pytest.raises(BadResponse):
        feed_and_finish(answer, data)
    assert not answer.sent


def feed_and_finish(answer: Answer, data: bytes) -> None:
    answer.feed(data)
    answer.finish()


def test_a_head_without_end_is_an_error_before_it_fills_the_memory() -> None:
    answer = Answer(1000, False)
    for _ in range(1000):
        answer.feed(b"x")
    with pytest.raises(BadResponse):
        answer.feed(b"x")
    assert not answer.sent


@pytest.mark.parametrize("keep", [True, False])
def test_files_for_the_web_server_to_read(keep: bool) -> None:
    sent = taken(Answer(1000, keep), HEAD + b"X-Accel-Redirect: /secret\n\n")
    assert (b"/secret" in sent) is keep


@pytest.mark.parametrize("status", [204, 304])
def test_what_has_no_body_gets_none(status: int) -> None:
    """A web server may take it for the next answer, or for a mistake of selcgi's: HAProxy answers 502."""
    answer = Answer(1000, False)
    sent = taken(answer, b"Status: %d\n\nbody" % status)
    answer.finish()
    assert sent.endswith(b"\r\n\r\n")
    assert (answer.complete, answer.surplus) == (True, 4)
    entry = Entry()
    answer.note(entry)
    assert f"4 bytes beyond what a {status} may have were cut off" in str(entry)


@pytest.mark.parametrize(("output", "complete"), [
    (b"Content-Length: 4\n\nwhole", True), (b"Content-Length: 6\n\nwhole", False), (b"X: y\n\nwhole", False),
    (b"Content-Length: 4\n", False),
])  # fmt: skip
def test_an_answer_is_complete_when_its_length_is_there(output: bytes, complete: bool) -> None:
    answer = Answer(1000, False)
    answer.feed(output)
    assert not answer.complete, "nothing was taken yet"
    answer.take()
    assert answer.complete == complete
