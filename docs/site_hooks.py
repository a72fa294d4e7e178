"""MkDocs hooks: Markdown files outside `docs/` become pages of the site, and relative links keep their targets.

The pages are written for the repository, where `../SECURITY.md` leads from `docs/API.md` to the root. On the site that
page is `SECURITY.md`, beside `API.md`, and README.md is the start page. A link to a file that the site lacks, such as
source code, leads to the repository if `repo_url` is set, and otherwise becomes plain text.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs"
PAGES = ("*.md", "deploy/README.md", "models/*/README.md")

# A fenced block, which has no links, or a link or image with a relative target.
_FENCE_OR_LINK = re.compile(
    r"^(?P<fence>```+).*?^(?P=fence)$|(?P<before>!?)\[(?P<text>[^\]]*)\]\((?![a-z]+:|#|/)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)",
    re.MULTILINE | re.DOTALL,
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside `docs/`."""
    for path in sorted(path for pattern in PAGES for path in ROOT.glob(pattern)):
        uri = _page_of(path.relative_to(ROOT).as_posix())
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the page's relative links from places in the repository to places on the site."""
    source = Path(page.file.abs_src_path).relative_to(ROOT).as_posix()

    def rewrite(found: re.Match[str]) -> str:
        if found["fence"]:
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found["path"]))
        uri = _page_of(target)
        anchor = found["anchor"] or ""
        if files.get_file_from_path(uri) is not None or target.startswith(f"{DOCS}/"):
            relative = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
            return f"{found['before']}[{found['text']}]({relative}{anchor})"
        if config.repo_url:
            return f"[{found['text']}]({config.repo_url.rstrip('/')}/{config.edit_uri.split('/')[0]}/{target})"
        return found["text"]

    return _FENCE_OR_LINK.sub(rewrite, markdown)


def _page_of(source: str) -> str:
    """Return the path on the site of a file of the repository."""
    if posixpath.basename(source) == "README.md":
        return posixpath.join(posixpath.dirname(source), "index.md")
    return source.removeprefix(f"{DOCS}/")
