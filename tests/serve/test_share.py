"""Who accepts a connection, by what the workers say of theirs."""

from selcgi.serve.board import Board
from selcgi.serve.share import Share


def test_who_has_many_more_than_another_is_full_and_of_the_dead_nobody_knows() -> None:
    board = Board(3)
    one, other, _ = (Share(board, number) for number in range(3))
    board.pages[0].sign(1)
    one.has(3)
    assert not one.is_full, "the others have not begun"
    board.pages[1].sign(1)
    assert one.is_full
    other.has(1)
    assert not one.is_full
    assert not other.is_full
    one.has(128)
    other.has(100)
    assert one.is_full
    assert not other.is_full
    one.has(127)
    assert not one.is_full
    other.has(None)
    assert not one.is_full, "the other accepts none"
    other.has(0)
    assert one.is_full
    board.pages[1].bury(board.supervisor)
    assert not one.is_full
