"""Every cell of contrib/WEB-SERVERS.md, asked again of the real web server."""

import pytest

from tests.e2e.cases import CASES
from tests.e2e.matrix import column, read_table
from tests.servers import VARIANTS, Server

pytestmark = pytest.mark.web


@pytest.mark.parametrize("kind", VARIANTS, ids=lambda kind: kind.name)
def test_the_page_is_true(kind: type[Server]) -> None:
    said = read_table()[kind.name]
    assert dict(zip([case.name for case in CASES], column(kind), strict=True)) == said
