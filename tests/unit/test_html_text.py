import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.importing.html_text import text_of


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<p>one<br>two<br/>three<br />four</p>", "one\ntwo\nthree\nfour"),
        ("<p>one<br><br><br>two</p>", "one\n\n\ntwo"),
        ("<p>one<br></p><p>two</p>", "one\n\ntwo"),
        ("<P>one</P>\n  <P>two</P>\n", "one\n\ntwo"),
        ("<p>one\n  two</p>", "one two"),
        ("<p>two  spaces</p>", "two  spaces"),
        ("one <br> two", "one\ntwo"),
        (
            "a &amp; b &lt;p&gt; &quot;c&quot; &#39;d&#39; &hearts; &#x1F600;",
            "a & b <p> \"c\" 'd' ♥ 😀",
        ),
        ("&amp;lt;", "&lt;"),
        ("1 < 2 > 0", "1 < 2 > 0"),
        ("a<!-- no <p> -->b<!DOCTYPE x><?php y ?>c</>d</ 5>e", "abcde"),
        ("<script>alert('<p>')</script><style>p{}</style>seen", "seen"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two"),
        ("<ol><li>one<ul><li>in</li></ul></li><li>two</li></ol>", "1. one\n- in\n2. two"),
        ("<blockquote>said</blockquote>so", "said\n\nso"),
        ("<pre><code>if x:\n    y</code></pre>", "if x:\n    y"),
        ("<h1>Title</h1>text<hr>more", "Title\n\ntext\n\nmore"),
        ("<b>bold</b><i>er</i>", "bolder"),
        ("<p>unclosed <b>tag", "unclosed tag"),
        ('before<a title="never closed', "before"),
        ('<img src="x" alt=":blobcat:"> hi', ":blobcat: hi"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("안녕 <b>하세요</b>", "안녕 하세요"),
        ("a\u00a0b&nbsp;c\u2028d", "a\u00a0b\u00a0c\u2028d"),
    ],
)
def test_elements(markup: str, text: str) -> None:
    """Paragraphs, lines, lists and entities become what an author would have typed."""
    assert text_of(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ('<a href="https://example.com/a">here</a>', "here (https://example.com/a)"),
        ('<a href="https://example.com/a">https://example.com/a</a>', "https://example.com/a"),
        ('<a href="https://www.example.com/">example.com</a>.', "https://www.example.com/."),
        ('<a href="https://example.com/abcdef">example.com/abc…</a>', "https://example.com/abcdef"),
        ("<a href=https://example.com/a?b=1&amp;c=2>x</a>", "x (https://example.com/a?b=1&c=2)"),
        ("<a href='https://example.com/it\"s'>x</a>", 'x (https://example.com/it"s)'),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ('<a href="/relative">x</a>', "x"),
        ('<a href="https://a.example/1">x<a href="https://b.example">y</a>',
         "x (https://a.example/1)y (https://b.example)"),
        ('<a href="https://example.com/a"></a>b', "b"),
        ('<a href="https://example.com/a">open', "open (https://example.com/a)"),
    ],
)  # fmt: skip
def test_links(markup: str, text: str) -> None:
    """Where a link goes is never lost, and said once."""
    assert text_of(markup) == text


SERVERS = {
    "Mastodon": (
        ('<p><span class="h-card" translate="no"><a href="https://m.example/@bob"'
        ' class="u-url mention">'
        '@<span>bob</span></a></span> see <a href="https://www.example.com/a/long/path?with=query"'
        ' target="_blank" rel="nofollow noopener noreferrer" translate="no">'
        '<span class="invisible">https://www.</span>'
        '<span class="ellipsis">example.com/a/long/path</span>'
        '<span class="invisible">?with=query</span></a> <a href="https://m.example/tags/Cats"'
        ' class="mention hashtag" rel="tag">#<span>Cats</span></a></p><p>Bye &amp; thanks</p>'),
        "@bob see https://www.example.com/a/long/path?with=query #Cats\n\nBye & thanks",
    ),
    "Pleroma": (
        ('<span class="h-card"><a class="u-url mention" data-user="9x"'
        ' href="https://p.example/users/bob"'
        ' rel="ugc">@<span>bob</span></a></span> one<br/>two '
        '<a class="hashtag" data-tag="cats" href="https://p.example/tag/cats">#cats</a> '
        '<a href="https://example.com/a">https://example.com/a</a>'),
        "@bob one\ntwo #cats https://example.com/a",
    ),
    "Misskey": (
        ('<p><a href="https://k.example/@bob" class="u-url mention">@bob@k.example</a>'
        '<span> one<br>two </span>'
        '<a href="https://example.com/a">https://example.com/a</a><span> </span>'
        '<a href="https://k.example/tags/cats" rel="tag">#cats</a><span><br><br>RE: </span>'
        '<a href="https://k.example/notes/9">https://k.example/notes/9</a></p>'),
        "@bob@k.example one\ntwo https://example.com/a #cats\n\nRE: https://k.example/notes/9",
    ),
    "Pixelfed": (
        ('A cat <a href="https://x.example/discover/tags/cats?src=hash" title="#cats"'
        ' class="u-url hashtag" rel="external nofollow noopener">#cats</a> by '
        '<a class="u-url mention" href="https://x.example/bob" rel="external nofollow noopener"'
        ' target="_blank">@bob</a>'),
        "A cat #cats by @bob",
    ),
    "GoToSocial": (
        ('<p>One <em>two</em> <code>three</code><br><br>'
        '<a href="https://g.example/tags/cats" class="mention hashtag" rel="tag nofollow noreferrer'
        ' noopener" target="_blank">#<span>cats</span></a></p><blockquote><p>four</p></blockquote>'
        '<ul><li>five</li><li><p>six</p></li></ul>'),
        "One two three\n\n#cats\n\nfour\n\n- five\n- six",
    ),
    "WordPress": (
        ('<!-- wp:paragraph -->\n<p class="wp-block-paragraph">'
        'One <a href="https://example.com/a">link</a>.</p>\n'
        '<!-- /wp:paragraph -->\n\n<h2 class="wp-block-heading">Two</h2>\n\n\n'
        '<figure class="wp-block-image">'
        '<img src="a.jpg" alt="A cat" /><figcaption>Three</figcaption></figure>\n'),
        "One link (https://example.com/a).\n\nTwo\n\nA cat\nThree",
    ),
}  # fmt: skip


@pytest.mark.parametrize("server", SERVERS)
def test_servers(server: str) -> None:
    """What servers have made of a text becomes that text."""
    markup, text = SERVERS[server]
    assert text_of(markup) == text


@given(st.text(st.sampled_from("<>/!-=\"' \n&;apbr#x1…")))
def test_nothing_makes_it_fail(markup: str) -> None:
    """Whatever stands there is some text, with no tag of the kinds that are read."""
    text = text_of(markup)
    assert "<p>" not in text or "&" in markup


@pytest.mark.parametrize(
    "piece",
    [
        "<", "<a", '<a b="', "<a b='", "<a b=", "<!--", "<!", "</", "<a ", "<a x", "&", "&#",
        "&amp", " ", "\n", " \n", "<b>", "<li>", "<ul>", "<ul><li>", "<a>", '<a href="https://x">',
        "<br>", "<script>", "</script>", "<pre>", "=", '"', "<a b", "<a\nb=c ",
    ],
)  # fmt: skip
def test_time_is_linear(piece: str) -> None:
    """A quarter of a megabyte of anything takes well under a second on an idle machine."""
    markup = piece * (256 * 1024 // len(piece))
    began = time.process_time()
    text_of(markup)
    assert time.process_time() - began < 5
