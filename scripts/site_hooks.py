"""What MkDocs needs to make a site of this repository, as it is; `mkdocs.yml` names this file.

The README is the home page and the notebooks are pages, though they lie outside of docs/. Links
that leave docs/ lead to these pages, or to the file in the repository, which must exist. The
repository's address is the one in pyproject.toml. A link of the finished site, those of notebooks
and docstrings included, that leads nowhere is an error.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

# Relative links: the target up to any anchor, and the anchor.
_MARKDOWN_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|<)([^()\s#]+)(#[^()\s]*)?(?=\))")
_HTML_LINK = re.compile(r'(?<=<a href=")(?![a-z]+:|#|/)([^"#]+)(#[^"]*)?(?=")')


def on_config(config: Any) -> Any:
    """Take the repository's address from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.repo_url = project["urls"]["Repository"]
    config.repo_name = project["name"]
    config.edit_uri = None
    return config


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files: Files, config: Any) -> Files:
    """Add the README and the notebooks."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        path = f"notebooks/{notebook.name}"
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Make links of the repository links of the site."""
    source = page.file.src_uri
    if source.endswith(".ipynb"):
        return markdown  # the code in it may look like a link
    here = "" if source == "index.md" else posixpath.dirname(f"docs/{source}")
    start = posixpath.dirname(source) or "."

    def relative(target: File) -> str:
        return posixpath.relpath(target.src_uri, start)

    return _lead_to_site(_MARKDOWN_LINK, markdown, here, relative, files, config)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Do the same in a notebook."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def relative(target: File) -> str:
        return posixpath.relpath(target.url, page.url) + "/"

    return _lead_to_site(_HTML_LINK, html, "notebooks", relative, files, config)


def _lead_to_site(
    pattern: re.Pattern[str],
    text: str,
    here: str,
    relative: Callable[[File], str],
    files: Files,
    config: Any,
) -> str:
    """Make each link from the folder `here` one to a file of the site, else to the repository."""

    def link(found: re.Match[str]) -> str:
        target = files.get_file_from_path(_page_of(found[1], here))
        address = _in_repository(found[1], here, config) if target is None else relative(target)
        return address + (found[2] or "")

    return pattern.sub(link, text)


def _page_of(target: str, here: str) -> str:
    """Return the page or picture that a link from a folder of the repository leads to."""
    path = posixpath.normpath(posixpath.join(here, target))
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def _in_repository(target: str, here: str, config: Any) -> str:
    """Return the address of a file or folder of the repository."""
    path = posixpath.normpath(posixpath.join(here, target))
    if path.startswith("..") or not (ROOT / path).exists():
        raise PluginError(f"{here or 'README.md'}: there is no {target}")
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{config.repo_url.rstrip('/')}/{kind}/main/{path}"


def on_post_build(config: Any) -> None:
    """Check the links of all pages."""
    site = Path(config.site_dir)
    pages = {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            address, anchor = urldefrag(link)
            target = (path.parent / unquote(address)).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            found = pages.get(target)
            if not target.exists() or (anchor and found and unquote(anchor) not in found.anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    if broken:
        raise PluginError("links that lead nowhere:\n" + "\n".join(sorted(set(broken))))


class Page(HTMLParser):
    """The relative links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        """Read a page."""
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {"__top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag links to, and its name."""
        given = dict(attrs)
        self.anchors |= {given[name] or "" for name in ("id", "name") if name in given}
        for name in ("href", "src"):
            link = given.get(name) or ""
            if link and not re.match(r"[a-z]+:|//", link):
                self.links.append(link)
