"""Signed outputs, heard by C2PA's own reader."""

import hashlib
import io
import json
import socket
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from colornet import metadata
from colornet.errors import ScanError, SettingsError
from colornet.hints import Hint, from_json
from colornet.metadata import Metadata, xmp
from colornet.provenance import c2pa as content_credentials
from colornet.provenance import xmp as provenance
from colornet.provenance.c2pa import Credentials
from tests import certificates, pictures
from tests.test_provenance import GRAY, ORIGIN, PILLOW, SOURCE, TYPE, output

c2pa = pytest.importorskip("c2pa")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> certificates.Signer:
    return certificates.make(tmp_path_factory.mktemp("signer"))


def credentials_of(signer: certificates.Signer) -> Credentials:
    return Credentials(certificates=str(signer.certificates), key=str(signer.key))


def heard(data: bytes, format: str, signer: certificates.Signer) -> tuple[str, dict, set[str]]:
    """What C2PA's reader makes of a file: its verdict, the active manifest, and the codes of what is wrong."""
    verify = {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}
    context = c2pa.Context.from_dict({"verify": verify, "trust": {"trust_anchors": signer.root}})
    reader = c2pa.Reader(f"image/{format}", io.BytesIO(data), context=context)
    said = json.loads(reader.json())
    wrong = {entry["code"] for entry in said["validation_results"]["activeManifest"]["failure"]}
    return said["validation_state"], said["manifests"][said["active_manifest"]], wrong


@pytest.mark.parametrize("format", content_credentials.FORMATS)
def test_signed_outputs_are_trusted_and_name_their_source(format, signer):
    plain = output(format)
    signed = content_credentials.sign(plain, format, SOURCE, "jpeg", credentials_of(signer), ORIGIN)
    state, manifest, wrong = heard(signed, format, signer)
    assert (state, wrong) == ("Trusted", set())
    (ingredient,) = manifest["ingredients"]
    assert (ingredient["relationship"], ingredient["title"]) == ("parentOf", "plate & 7.tif")
    (actions,) = (entry["data"]["actions"] for entry in manifest["assertions"] if "actions" in entry["label"])
    assert [action["action"] for action in actions] == ["c2pa.opened", "c2pa.color_adjustments"]
    assert "ingredient" in actions[0]["parameters"]["ingredients"][0]["url"]
    assert actions[1]["digitalSourceType"] == TYPE
    assert actions[1]["parameters"]["colornet.source_sha256"] == hashlib.sha256(SOURCE).hexdigest()
    assert manifest["claim_generator_info"][0]["name"] == "Colornet"
    np.testing.assert_array_equal(pictures.decoded(signed), pictures.decoded(plain))
    assert metadata.read(signed, format) == metadata.read(plain, format)


def test_a_strength_that_somebody_chose_is_signed_too(signer):
    for origin, told in ((ORIGIN, None), (replace(ORIGIN, strength=0.8), "0.8")):
        signed = content_credentials.sign(output("jpeg"), "jpeg", SOURCE, "jpeg", credentials_of(signer), origin)
        _, manifest, wrong = heard(signed, "jpeg", signer)
        (actions,) = (entry["data"]["actions"] for entry in manifest["assertions"] if "actions" in entry["label"])
        assert not wrong and actions[1]["parameters"].get("colornet.strength") == told


def test_that_people_chose_colours_is_signed_as_an_action_of_theirs(signer):
    hints = (Hint(3, 4, "#a04020", by='A "B" <c>\n', note="]]>"), Hint(1, 1, (1, -2), page=1))
    origin = replace(ORIGIN, hints=hints)
    signed = content_credentials.sign(output("jpeg"), "jpeg", SOURCE, "jpeg", credentials_of(signer), origin)
    _, manifest, wrong = heard(signed, "jpeg", signer)
    (actions,) = (entry["data"]["actions"] for entry in manifest["assertions"] if "actions" in entry["label"])
    assert not wrong and [each["action"] for each in actions] == ["c2pa.opened", *["c2pa.color_adjustments"] * 2]
    assert actions[2]["digitalSourceType"].endswith("/humanEdits")
    assert actions[2]["description"] == 'colours at 2 places were chosen by A "B" <c>\n'
    assert from_json(json.dumps(actions[2]["parameters"]["colornet.hints"])) == hints


@pytest.mark.parametrize("format", content_credentials.FORMATS)
def test_a_changed_pixel_is_noticed(format, signer):
    signed = bytearray(content_credentials.sign(output(format), format, SOURCE, "jpeg", credentials_of(signer), ORIGIN))
    pixels = {"jpeg": b"\xff\xda", "png": b"IDAT", "webp": b"VP8 "}
    at = signed.index(pixels[format]) + 20 if format in pixels else tifffile_offset(bytes(signed))
    signed[at] ^= 1
    state, _, wrong = heard(bytes(signed), format, signer)
    assert state == "Invalid" and "assertion.dataHash.mismatch" in wrong


def tifffile_offset(data: bytes) -> int:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        return tiff.pages.first.dataoffsets[0] + 5


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_all_pages_of_a_tiff_survive_signing(options, signer):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **options) as writer:
        for seed in range(3):
            writer.write(pictures.colour(20, 30, seed), photometric="rgb", metadata=None)
    page = metadata.for_output(provenance.describe(Metadata(), ORIGIN), "tiff")
    metadata.embed_pages(buffer, [page] * 3)
    signed = content_credentials.sign(buffer.getvalue(), "tiff", SOURCE, "jpeg", credentials_of(signer), ORIGIN)
    assert heard(signed, "tiff", signer)[0] == "Trusted"
    with tifffile.TiffFile(io.BytesIO(signed)) as tiff:
        for seed in range(3):
            np.testing.assert_array_equal(tiff.pages[seed].asarray(), pictures.colour(20, 30, seed))
        assert [found.xmp for found in metadata.read_pages(tiff)] == [*[page.xmp] * 3, None]
        assert [tag.code for tag in tiff.pages[3].tags] == [52545]  # C2PA puts its manifest where a page would be


def test_a_source_s_own_manifest_stays_its_ingredient_s(signer):
    first = content_credentials.sign(SOURCE, "jpeg", SOURCE, "jpeg", credentials_of(signer), ORIGIN)
    signed = content_credentials.sign(output("png"), "png", first, "jpeg", credentials_of(signer), ORIGIN)
    state, manifest, _ = heard(signed, "png", signer)
    assert state == "Trusted" and manifest["ingredients"][0]["active_manifest"]


@pytest.mark.parametrize("format", ["jp2", "bmp", "j2k"])
def test_sources_of_formats_that_c2pa_does_not_know(format, signer):
    source = pictures.encoded(GRAY, PILLOW.get(format, "JPEG2000"))
    signed = content_credentials.sign(output("png"), "png", source, format, credentials_of(signer), ORIGIN)
    assert heard(signed, "png", signer)[0] == "Trusted"
    with pytest.raises(ScanError, match=f"cannot be written into {format.upper()}"):
        content_credentials.sign(b"", format, source, format, credentials_of(signer), ORIGIN)


def test_damaged_sources_and_outputs(signer):
    with pytest.raises(ScanError, match="cannot sign"):
        content_credentials.sign(b"no picture", "jpeg", SOURCE, "jpeg", credentials_of(signer), ORIGIN)
    signed = content_credentials.sign(output("png"), "png", SOURCE[:50], "jpeg", credentials_of(signer), ORIGIN)
    assert heard(signed, "png", signer)[0] == "Trusted"


def test_no_address_in_a_source_is_called(signer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls: list[object] = []
        server.settimeout(3)
        listener = threading.Thread(target=lambda: calls.append(_accept(server)))
        listener.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        words = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{xmp.RDF}"><rdf:Description rdf:about="" '
        words += f'xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{address}"/></rdf:RDF></x:xmpmeta>'
        source = metadata.embed(SOURCE, "jpeg", Metadata(xmp=words.encode()))
        content_credentials.sign(output("png"), "png", source, "jpeg", credentials_of(signer), ORIGIN)
        listener.join()
    assert calls == [None]


def _accept(server: socket.socket) -> object:
    try:
        return server.accept()[1]
    except TimeoutError:
        return None


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
def test_keys_that_c2pa_knows(kind, tmp_path):
    credentials = credentials_of(certificates.make(tmp_path, kind))
    assert credentials.check() is None  # it raises what is wrong


def test_credentials_that_are_no_good_are_refused_before_a_run(tmp_path):
    def check(chain: Path, key: Path) -> None:
        Credentials(certificates=str(chain), key=str(key)).check()

    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    good, other = certificates.make(folders[0]), certificates.make(folders[1])
    with pytest.raises(SettingsError, match=r"cannot read the key to sign with.*No such file"):
        check(good.certificates, tmp_path / "none")
    with pytest.raises(SettingsError, match="not that of the first certificate"):
        check(good.certificates, other.key)
    with pytest.raises(SettingsError, match="cannot be used"):
        check(good.key, good.key)
    useless = certificates.make(folders[2], signs=False)
    with pytest.raises(SettingsError, match="cannot sign"):
        check(useless.certificates, useless.key)
    unknown = certificates.make(folders[3], "k256")
    with pytest.raises(SettingsError, match="P-256"):
        check(unknown.certificates, unknown.key)
    assert "PRIVATE" not in repr(credentials_of(good))
