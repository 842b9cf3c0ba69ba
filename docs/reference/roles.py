"""Hook of mkdocs: docstrings write references as Sphinx roles, which Markdown would show as they are."""

import re
from typing import Any

ROLE = re.compile(r":[a-z]+:<code>(~?)([\w.]+)</code>")
CITATION = re.compile(r"(?:\.\. )?(\[\d+\])_?")


def on_page_content(html: str, **_: Any) -> str:
    """Page with plain names, the last part where a tilde says so, and plain numbers of references."""
    names = ROLE.sub(lambda role: f"<code>{role[2].rpartition('.')[2] if role[1] else role[2]}</code>", html)
    return CITATION.sub(r"\1", names)
