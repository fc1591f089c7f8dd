"""Where things lie in Redis: all of a blog under one hash tag, for one script to change."""

from __future__ import annotations

from dataclasses import dataclass

BLOGS = "lb:blogs"
LOOK = "lb:look"


@dataclass(frozen=True, slots=True)
class BlogKeys:
    """The keys of one blog; `{slug}` is the hash tag (Redis Cluster specification, "Hash tags")."""

    slug: str

    def _key(self, name: str) -> str:
        return f"lb:{{{self.slug}}}:{name}"

    @property
    def head(self) -> str:
        """Hash: epoch, offset, tag, floor (the first offset still held)."""
        return self._key("head")

    @property
    def blog(self) -> str:
        """String: the blog as JSON."""
        return self._key("blog")

    @property
    def log(self) -> str:
        """Hash: offset to entry."""
        return self._key("log")

    @property
    def tags(self) -> str:
        """Hash: offset to tag; the tag outlives a retraction's rewriting of its entry."""
        return self._key("tags")

    @property
    def posts(self) -> str:
        """Hash: post id to the post in its present form."""
        return self._key("posts")

    @property
    def revisions(self) -> str:
        """Hash: post id to its revision."""
        return self._key("revisions")

    @property
    def order(self) -> str:
        """Sorted set: post id by the offset of its publication."""
        return self._key("order")

    @property
    def moments(self) -> str:
        """Sorted set: the key moments among the posts, likewise."""
        return self._key("moments")

    @property
    def trails(self) -> str:
        """Hash: post id to the offsets of its entries, comma-separated."""
        return self._key("trails")

    @property
    def givers(self) -> str:
        """Hash: author id to how many of their posts stand."""
        return self._key("givers")

    @property
    def viewers(self) -> str:
        """Hash: process id to "count expiry", a lease each."""
        return self._key("viewers")

    @property
    def people(self) -> str:
        """Hash: person id to member."""
        return self._key("people")

    @property
    def removed(self) -> str:
        """Hash: person id to the moment they were taken out of the team, in seconds."""
        return self._key("removed")

    @property
    def invitations(self) -> str:
        """Hash: invitation id to invitation."""
        return self._key("invitations")

    @property
    def uses(self) -> str:
        """Hash: invitation id to the uses that are left."""
        return self._key("uses")

    @property
    def channel(self) -> str:
        """The shard channel on which entries are announced."""
        return self._key("entries")

    def done(self, operation: str) -> str:
        """Hash: what an operation came to, for whoever sends it again."""
        return self._key(f"done:{operation}")


def session(token_hash: str) -> str:
    """String: a session as JSON."""
    return f"lb:session:{token_hash}"


def sessions_of(person_id: str) -> str:
    """Set: the token hashes of a person's sessions."""
    return f"lb:person:{person_id}:sessions"


def blogs_of(person_id: str) -> str:
    """Set: the slugs of the blogs that a person has a part in."""
    return f"lb:person:{person_id}:blogs"


def look(tag: str) -> str:
    """Hash: what is written to see whether writes are taken, of a tag that lies where it is asked;
    it expires.
    """
    return LOOK + tag


def hash_tag(key: str) -> str:
    """What keeps another key where this one lies (Redis Cluster specification, "Hash tags")."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start : end + 1] if 0 <= start < end - 1 else f"{{{key}}}"


def touched(key: str) -> str:
    """String: what is written after a change, and lies with `key`; it expires."""
    return f"lb:touched:{hash_tag(key)}"


def probe(tag: str, process: str) -> str:
    """The channel on which a process hears itself, of a tag that lies where it listens."""
    return f"lb:probe:{tag}{process}"
