"""The Compare tab."""

from studio.ui.parts import part


def build() -> None:
    """Put the tab's part on the page."""
    part("compare", [])
