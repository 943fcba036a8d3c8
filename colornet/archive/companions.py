"""What lies beside scans and is none: known by its name, since a file that nobody can read may be a damaged scan."""

_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "picasa.ini", ".picasa.ini", "zbthumbnail.info"}
)
_ENDINGS = (
    *(".txt", ".md", ".rtf", ".doc", ".docx", ".odt", ".htm", ".html", ".log", ".url", ".lnk"),
    *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".xml", ".json", ".yaml", ".yml"),
    *(".xmp", ".thm", ".aae", ".cos", ".pp3", ".dop", ".on1", ".icc", ".icm"),
    *(".md5", ".sha1", ".sha256", ".sha512", ".sfv", ".par2"),
    *(".db", ".ini", ".bak", ".tmp"),  # Thumbs.db, desktop.ini
)
"""Texts, tables, sidecars of pictures, checksums, and what systems and programs leave."""


def lies_beside_pictures(key: str) -> bool:
    """Whether a file called so is not meant as a picture; so are resource forks of macOS (._scan.tif)."""
    name = key.rpartition("/")[2].lower()
    return name in _NAMES or name.startswith("._") or name.endswith(_ENDINGS)
