"""Ordinary sentences, for what depends on them: compressing, and the page's weight."""

WORDS = (
    "The panel on open data has begun: three cities showed what they publish and who uses it. "
    "Slides are at https://example.org/slides, questions are collected on paper. "
    "**Next** at 14:30: the workshop in room B, with _lunch_ left over in the foyer."
)
