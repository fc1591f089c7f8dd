"""Markdown to HTML that is safe to show: CommonMark, linked addresses, line breaks kept."""

from __future__ import annotations

import nh3
from markdown_it import MarkdownIt

from liveblog.domain.text import cleaned

_markdown = MarkdownIt("commonmark", {"html": False, "linkify": True, "breaks": True}).enable(
    ["linkify", "strikethrough"]
)

# Headings would tear the page's outline and images belong to media: both become plain text.
_TAGS = {"p", "br", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "hr"}
_SANITISER = nh3.Cleaner(
    tags=_TAGS,
    attributes={"a": {"href", "title"}, "ol": {"start"}},
    url_schemes={"http", "https", "mailto", "tel"},
    link_rel="noopener nofollow ugc",
)
_markdown.disable(["heading", "lheading", "image"])


def render(body: str) -> str:
    """`body` as HTML, sanitised a second time after the renderer, which passes no HTML through."""
    # Entities can spell what was cleaned out of the body.
    return cleaned(_SANITISER.clean(_markdown.render(body))).strip()
