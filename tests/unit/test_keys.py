"""Keys that must lie together do, wherever that is."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from liveblog.store import keys
from liveblog.store.keys import BlogKeys


def slot(key: str) -> int:
    return int(key_slot(key.encode()))


def test_all_of_a_blog_lies_in_one_slot() -> None:
    blog = BlogKeys("some-blog")

    assert len({slot(key) for key in (blog.head, blog.people, blog.channel, blog.done("x"))}) == 1
    assert slot(blog.head) != slot(BlogKeys("another-blog").head)


@pytest.mark.parametrize("key", [BlogKeys("live").head, keys.BLOGS, keys.session("x")])
def test_what_is_touched_with_a_key_lies_with_it(key: str) -> None:
    assert slot(keys.touched(key)) == slot(key)
    assert slot(keys.probe(keys.hash_tag(key), "p")) == slot(key)
