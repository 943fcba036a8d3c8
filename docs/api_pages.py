"""The library's pages, for mkdocs: one for each package of `colornet`, made from the docstrings of its modules."""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
TOP = "colornet"


def on_config(config: MkDocsConfig) -> None:
    """Put the pages into the menu, behind those that are written by hand."""
    library: list[Any] = [{name.removeprefix(f"{TOP}."): f"api/{name}.md"} for name in _packages()]
    config.nav = [*(config.nav or []), {"Library": library}]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the pages, and bring in those that lie in the root; the README is the first one."""
    for source, page in (("README", "index"), ("CONTRIBUTING", "CONTRIBUTING"), ("CHANGELOG", "CHANGELOG")):
        text = (ROOT / f"{source}.md").read_text("utf-8").replace("](docs/", "](")
        files.append(File.generated(config, f"{page}.md", content=text))
    for name, modules in _packages().items():
        lines = [f"# {name}", f"::: {name}", "    options: {show_root_heading: false, show_root_toc_entry: false}"]
        for module in modules:
            lines += [
                f"## {module.removeprefix(name + '.')}",
                f"::: {module}",
                "    options: {show_root_heading: false}",
            ]
        files.append(File.generated(config, f"api/{name}.md", content="\n\n".join(lines).replace("\n\n    ", "\n    ")))
    return files


def _packages() -> dict[str, list[str]]:
    """Return all packages and the modules in each, but for those that are programs."""
    found = {}
    for init in sorted((ROOT / TOP).rglob("__init__.py")):
        modules = [path for path in sorted(init.parent.glob("*.py")) if not path.stem.startswith("__")]
        found[_name(init.parent)] = [_name(path.with_suffix("")) for path in modules]
    return found


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parts)
