"""One photograph at a time: encoded bytes in, encoded bytes out.

colorizer = Colorizer.from_bundle()
data = Path("photo.jpg").read_bytes()
Path("photo.colour.jpg").write_bytes(colorizer(data))
Path("photo.steered.jpg").write_bytes(colorizer(data, hints=[Hint(420, 1310, "#2f6b3a")], strength=1.1))
"""

from collections.abc import Sequence
from dataclasses import replace

from colornet.hints import Hint
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.inference.page import prepare
from colornet.inference.precision import Precision
from colornet.inference.predictor import Predictor
from colornet.provenance.c2pa import Credentials
from colornet.rendering.render import Rendered, Rendering, RenderSettings
from colornet.storage import Storage


class Colorizer:
    """Gives scans their colour with one bundle."""

    def __init__(
        self,
        bundle: Bundle,
        settings: RenderSettings | None = None,
        *,
        device: str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        """Make a bundle ready to colorize; the bundle is used up."""
        self.settings = settings or RenderSettings()
        self.size = self.settings.size or bundle.image_size
        self.bundle = bundle
        self.predictor = Predictor(bundle, device=device, precision=precision)

    @classmethod
    def from_bundle(
        cls,
        uri: str = bundles.SHIPPED,
        settings: RenderSettings | None = None,
        *,
        device: str = "cpu",
        storage: Storage = Storage(),
    ) -> "Colorizer":
        """Load the bundle at a folder or s3:// prefix; unless given, the one that comes with Colornet.

        Raises:
            SettingsError: if the uri names no place, or a bundle that does not come with Colornet.
            BundleError: if there is no sound bundle.
        """
        return cls(bundles.load(uri, storage), settings, device=device)

    def __call__(self, data: bytes, *, hints: Sequence[Hint] = (), strength: float | None = None) -> bytes:
        """Colorize an encoded scan; the result has its format, pixel size, depth and pages.

        Args:
            data: the scan's bytes.
            hints: colours that are known, at pixels of the upright picture.
            strength: in place of the settings'.

        Raises:
            SettingsError: if a hint lies outside of the picture or of its pages, or contradicts another, or the
                strength is out of its range.
            BundleError: if there are hints, and the bundle takes none.
            ScanError: if the scan cannot be read.
            InColourError: if it is in colour already, unless the settings say otherwise.
        """
        return self.render(data, hints=hints, strength=strength).data

    def render(
        self,
        data: bytes,
        name: str = "",
        credentials: Credentials | None = None,
        *,
        hints: Sequence[Hint] = (),
        strength: float | None = None,
    ) -> Rendered:
        """Colorize an encoded scan, and say what became of it; as calling.

        Args:
            data: the scan's bytes.
            name: the scan's file name, which the output tells as its origin.
            credentials: with which a C2PA manifest is signed.
            hints: as calling.
            strength: as calling.
        """
        if hints:
            self.bundle.require_hints()
        settings = self.settings if strength is None else replace(self.settings, strength=strength)
        source = settings.open(data)
        origin = settings.origin(name, data, self.bundle.digest, hints)
        rendering = Rendering(source, settings, origin)
        for number, scan in rendering.pages():
            page = prepare(scan, self.size, origin.hints_on(number))
            rendering.add(page, self.predictor.predict(page.seen[None], [page.letterbox], [page.hints])[0])
        return rendering.finish(credentials)
