"""Pages are one file that a strict Content-Security-Policy lets through, and what they show is no markup."""

import base64
import hashlib
import re

import pytest
from jinja2 import UndefinedError
from lxml import html

from colornet import pages
from colornet.evaluation import comparison
from colornet.evaluation.comparison import Example, Table
from tests import pictures
from tests.test_report import whole_page

HOSTILE = "\"'></td></style></title><script>alert(1)</script>{{ 7 * 7 }}&amp;\x00\ud800"


def compared(name: str) -> bytes:
    examples = [Example(name, {name: pictures.colour(8, 8)})]
    return comparison.page(name, [name], [Table(name, ["", name], [[name, name]])], examples, {name: b"a plot"})


@pytest.mark.parametrize("page", [whole_page(), compared("a name")])
def test_the_policy_allows_a_pages_own_style_and_nothing_else_that_is_active(page):
    root = html.fromstring(page)
    (policy,) = root.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    (style,) = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"
    assert not root.xpath("//@style") and not root.xpath("//script") and not root.xpath("//*[@href]")
    assert all(source.startswith("data:image/") for source in root.xpath("//@src"))


def test_hostile_names_are_no_markup_of_a_comparison():
    def tags(page: bytes) -> list[tuple[str, list[str]]]:
        return [(each.tag, sorted(each.keys())) for each in html.fromstring(page).iter()]

    page = compared(HOSTILE)
    assert tags(page) == tags(compared("tame"))
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert html.fromstring(page).xpath("//h2/text()") == [shown, shown]
    assert html.fromstring(page).xpath("//img/@alt")[-1] == shown


def test_a_template_that_is_not_given_all_values_says_so():
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        pages.render("comparison.html")
