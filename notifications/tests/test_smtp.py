"""How content goes over the wire."""

import pytest

from notifications.smtp import _as_data


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb", b"a\r\nb\r\n"),
        (b"a\n.\nb\n", b"a\r\n..\r\nb\r\n"),
        # A server that takes a lone CR for a line end must not find the end of the content here.
        (b"a\r.\rMAIL FROM:<x@x.example>\n", b"a\r\n..\r\nMAIL FROM:<x@x.example>\r\n"),
    ],
)
def test_nothing_in_the_content_can_end_it(content: bytes, sent: bytes) -> None:
    assert _as_data(content) == sent
