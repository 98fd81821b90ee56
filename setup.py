"""The description that a package index shows: README, whose relative links lead nowhere there.

Everything else is in ``setup.cfg``. A link into the repository becomes the name of the file.
"""

import re
from pathlib import Path

from setuptools import setup

RELATIVE_LINK = re.compile(r"\[[^\]]+\]\((?!\w+:)([^)#\s]+)[^)]*\)")

readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
setup(
    long_description=RELATIVE_LINK.sub(r"`\1`", readme),
    long_description_content_type="text/markdown",
)
