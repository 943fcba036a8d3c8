"""jobs.prepare: what becomes of every kind of file, the same result however the work is cut, on folders and on S3."""

import dataclasses
import io
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms, JpegImagePlugin

from colornet.datasets import collection, parts, shards, sources
from colornet.datasets.screening import RejectedError, Screening, examine
from colornet.datasets.shapes import KINDS
from colornet.errors import ColornetError, SettingsError
from colornet.storage import Storage, uris
from jobs import prepare as job
from jobs.prepare import PrepareSettings, prepare
from tests import pictures
from tests.faulty_s3 import running_proxy

storage = Storage()

SCREENING = Screening()


def jpeg(height: int = 200, width: int = 300, seed: int = 0, **options) -> bytes:
    return pictures.encoded(pictures.colour(height, width, seed), "JPEG", quality=95, **options)


def as_form(picture: Image.Image, format: str, **options) -> bytes:
    target = io.BytesIO()
    picture.save(target, format, **options)
    return target.getvalue()


def colour_picture(height: int = 200, width: int = 300) -> Image.Image:
    return Image.fromarray(pictures.colour(height, width))


def png16() -> bytes:
    """A gray PNG of 16 bits a pixel."""
    return as_form(Image.fromarray(pictures.gray(200, 300).astype(np.uint16) * 257), "PNG")


def bomb() -> bytes:
    """A PNG whose header speaks of 60,000 × 60,000 pixels, and the beginning of its data."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + body + b"\x00\x00\x00\x00IDAT"


# --- one file ---------------------------------------------------------------------------------------------------------


def test_a_jpeg_that_fits_is_kept_byte_for_byte():
    data = jpeg()
    photograph = examine(data, SCREENING)
    assert (photograph.image, photograph.width, photograph.height) == (data, 300, 200)


def test_large_photographs_are_reduced_to_the_short_side():
    photograph = examine(jpeg(400, 600), Screening(short_side=128))
    assert (photograph.width, photograph.height) == (192, 128)
    stored = Image.open(io.BytesIO(photograph.image))
    assert (stored.format, stored.mode, stored.size) == ("JPEG", "RGB", (192, 128))
    assert JpegImagePlugin.get_sampling(stored) == 0  # 4:4:4
    wanted = colour_picture(400, 600).resize((192, 128), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(stored, np.float32) - np.asarray(wanted, np.float32)).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = colour_picture(200, 300)
    undone = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # the transposition that brings the picture into this orientation
    turned = upright.transpose(Image.Transpose(undone[orientation])) if orientation > 1 else upright
    photograph = examine(as_form(turned, "JPEG", quality=95, subsampling=0, exif=exif), SCREENING)
    assert (photograph.width, photograph.height) == (300, 200)
    found = np.asarray(Image.open(io.BytesIO(photograph.image)), np.float32)
    assert np.abs(found - np.asarray(upright, np.float32)).mean() < 6
    assert Image.open(io.BytesIO(photograph.image)).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    "data",
    [
        as_form(colour_picture().convert("CMYK"), "JPEG", quality=95),
        as_form(colour_picture().convert("RGBA"), "PNG"),
        as_form(colour_picture().convert("P"), "PNG"),
        as_form(colour_picture(), "TIFF", compression="tiff_lzw"),
        as_form(colour_picture(), "WEBP", lossless=True),
        as_form(colour_picture(), "JPEG2000"),
        as_form(colour_picture(), "BMP"),
    ],
    ids=["CMYK", "RGBA", "palette", "TIFF", "WebP", "JPEG 2000", "BMP"],
)
def test_other_forms_become_rgb_jpegs(data):
    photograph = examine(data, SCREENING)
    stored = Image.open(io.BytesIO(photograph.image))
    assert (stored.format, stored.mode, stored.size) == ("JPEG", "RGB", (300, 200))
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)
    assert np.abs(np.asarray(stored, np.float32) - wanted).mean() < 4


def test_what_is_transparent_is_laid_on_white():
    pixels = np.dstack([pictures.colour(200, 300), np.full((200, 300), 255, np.uint8)])
    pixels[:, :100, 3] = 0
    stored = Image.open(io.BytesIO(examine(pictures.encoded(pixels, "PNG"), SCREENING).image))
    assert np.asarray(stored)[:, :95].min() > 245


def test_a_colour_profile_is_applied():
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    lab = as_form(colour_picture().convert("RGB"), "JPEG", quality=95, icc_profile=swapped)
    assert examine(lab, SCREENING).image != lab  # a profile that does not fit is left out, and with it the bytes
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = jpeg(icc_profile=srgb)
    assert examine(same, SCREENING).image == same


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable: the file is empty"),
        (b"hello\n" * 100, "unreadable: not a picture"),
        (jpeg()[:3000], "unreadable: image file is truncated"),
        (jpeg()[:100], "unreadable: "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 200 200\n", "unreadable: not a picture"),
        (jpeg(100, 300), "too small: 300×100 pixels"),
        (bomb(), "too large: "),
        (pictures.encoded(pictures.gray(200, 300), "JPEG"), "gray: it has no colour channels"),
        (png16(), "gray: it has no colour channels"),
        (as_form(Image.fromarray(pictures.gray(200, 300)).convert("RGB"), "JPEG"), "gray: mean chroma 0."),
    ],
    ids=["empty", "text", "truncated", "header", "EPS", "small", "bomb", "gray", "16-bit gray", "gray as RGB"],
)
def test_files_are_rejected_with_a_reason(data, reason):
    with pytest.raises(RejectedError) as caught:
        examine(data, SCREENING)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_too_many_pixels_are_refused_by_the_header():
    with pytest.raises(RejectedError, match="too large: 300×200 pixels, the bound is 59999"):
        examine(jpeg(), Screening(max_pixels=59_999))
    assert examine(jpeg(), Screening(max_pixels=60_000)).width == 300


def muted(seed: int, tint: int = 6) -> bytes:
    """A colour photograph of next to no colour: fog, or an overcast sea."""
    gray = pictures.gray(200, 300, seed).astype(int)
    return as_form(Image.fromarray(np.dstack([gray - tint, gray, gray + tint]).clip(0, 255).astype(np.uint8)), "PNG")


def test_nearly_gray_photographs_say_so_and_black_and_white_ones_are_rejected():
    assert examine(jpeg(), SCREENING).gray is None
    assert re.fullmatch(r"gray: mean chroma [1-4]\.\d, the least is 5", examine(muted(0), SCREENING).gray or "")
    assert examine(muted(0), Screening(min_chroma=0.5)).gray is None
    with pytest.raises(RejectedError, match=r"gray: mean chroma 0\."):
        examine(muted(0, tint=0), SCREENING)


# --- shards -----------------------------------------------------------------------------------------------------------


def screened(folder: Path, files: pa.Table, cuts: int) -> pa.Table:
    work = parts.Work(parts=str(folder), screening=SCREENING, license="")
    return pa.concat_tables(
        [parts.Screen(work)(files.slice(start, cuts)) for start in range(0, files.num_rows, cuts)][::-1]
    )


def test_shards_do_not_depend_on_how_the_work_is_cut(tmp_path):
    files = sources.listing(["shapes://150?size=16"])
    written = []
    for cuts in (7, 150):
        plan = shards.plan(screened(tmp_path / f"{cuts}", files, cuts), 0.1, shard_bytes=20_000)
        for name, rows in plan.shards.items():
            shards.write_shard(str(tmp_path / f"out-{cuts}" / name), rows)
        written.append({path.name: path.read_bytes() for path in (tmp_path / f"out-{cuts}").iterdir()})
    assert written[0] == written[1]
    assert len(written[0]) >= 3


def test_row_groups_and_order(tmp_path):
    plan = shards.plan(screened(tmp_path, sources.listing(["shapes://150?size=16"]), 40), 0.0)
    shards.write_shard(str(tmp_path / "shard.parquet"), plan.shards["train-00000.parquet"])
    file = pq.ParquetFile(tmp_path / "shard.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [64, 64, 22]
    table = file.read()
    assert table.schema.equals(parts.SCHEMA)
    assert table["name"].to_pylist() == [f"{index:06d}.png" for index in range(150)]
    assert all(table["kind"].to_pylist().count(kind) == 25 for kind in KINDS)


def test_the_split_follows_from_the_content(tmp_path):
    few = shards.plan(screened(tmp_path / "few", sources.listing(["shapes://60?size=16"]), 60), 0.2)
    many = shards.plan(screened(tmp_path / "many", sources.listing(["shapes://120?size=16"]), 60), 0.2)

    def held_out(plan: shards.ShardPlan) -> set[bytes]:
        return set(plan.shards["val-00000.parquet"]["digest"].to_pylist())

    assert held_out(few) < held_out(many)
    assert 10 < many.count(shards.HELD_OUT) < 40


def test_something_is_held_out_of_few(tmp_path):
    manifest = screened(tmp_path, sources.listing(["shapes://3?size=16"]), 3)
    assert shards.plan(manifest, 1e-6).count(shards.HELD_OUT) == 1
    assert shards.plan(manifest, 0.0).count(shards.HELD_OUT) == 0


def test_shards_are_cut_by_bytes(tmp_path):
    manifest = screened(tmp_path, sources.listing(["shapes://20?size=16"]), 20)
    plan = shards.plan(manifest, 0.0, shard_bytes=1000)
    sizes = [sum(rows["bytes"].to_pylist()) for rows in plan.shards.values()]
    assert all(size <= 1000 for size in sizes)
    assert all(first + second > 1000 for first, second in itertools.pairwise(sizes[:-1]))
    assert len(shards.plan(manifest, 0.0, shard_bytes=1).shards) == 20


def test_a_share_of_nearly_gray_photographs_is_kept(tmp_path):
    files = {f"colour/{seed}.jpg": jpeg(seed=seed) for seed in range(9)} | {"colour/copy.jpg": jpeg(seed=1)}
    files |= {f"fog/{seed}.png": muted(seed) for seed in range(6)} | {"fog/again.png": muted(2)}
    source = write_files(str(tmp_path / "in"), files)
    manifest = screened(tmp_path / "parts", sources.listing([source]), 5)

    def kept(share: float) -> set[str]:
        plan = shards.plan(manifest, 0.3, keep_gray=share)
        rows = [row for table in plan.shards.values() for row in table.to_pylist()]
        assert len(rows) + plan.rejected.num_rows == len(files)
        return {row["uri"].rpartition("/")[2] for row in rows if row["gray"]}

    assert kept(0.0) == set() and kept(0.09) == set()
    few, more, most = kept(0.1), kept(0.25), kept(0.9)
    assert few < more < most and (len(few), len(more), len(most)) == (1, 3, 6)
    assert shards.plan(manifest, 0.3).reasons() == {"gray": 6, "duplicate": 2}


def test_the_kind_is_that_of_the_folder_or_what_was_said(tmp_path):
    places = ["a.jpg", "people/b.jpg", "people/1970/c.jpg"]
    source = write_files(str(tmp_path / "in"), {place: jpeg(seed=seed) for seed, place in enumerate(places)})
    files = sources.listing([source, "shapes://1?size=16"])

    def kinds(**options) -> list[str]:
        work = parts.Work(parts=str(tmp_path / str(options)), screening=SCREENING, license="", **options)
        manifest = parts.Screen(work)(files)
        plan = shards.plan(manifest, 0.0)
        shards.write_shard(str(tmp_path / "shard.parquet"), plan.shards["train-00000.parquet"])
        found = {row["name"]: row["kind"] for row in pq.read_table(tmp_path / "shard.parquet").to_pylist()}
        assert plan.kinds() == dict(Counter(filter(None, found.values())))
        return [found[place] for place in (*places, "000000.png")]

    [*_, shape] = kinds()
    assert kinds() == ["", "", "", shape] and shape in KINDS
    assert kinds(kind="scene") == ["scene", "scene", "scene", shape]
    assert kinds(kind="scene", kind_from_folder=True) == ["scene", "people", "people", shape]


def test_a_part_is_not_made_twice(tmp_path, monkeypatch):
    files = sources.listing(["shapes://5?size=16"])
    first = screened(tmp_path, files, 5)
    monkeypatch.setattr(sources, "draw", lambda uri: pytest.fail("drawn again"))
    assert screened(tmp_path, files, 5).equals(first)


def test_what_was_not_fetched_is_tried_again(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg())
    files = sources.listing([str(tmp_path / "in")])
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "read", lambda *_: (_ for _ in ()).throw(ColornetError("the store is away")))
        plan = shards.plan(screened(tmp_path / "parts", files, 1), 0.0)
    assert plan.reasons() == {parts.NOT_FETCHED: 1}
    assert plan.rejected["reason"].to_pylist() == ["not fetched: the store is away"]
    assert shards.plan(screened(tmp_path / "parts", files, 1), 0.0).count(shards.TRAIN) == 1


@pytest.mark.parametrize("uri", ["shapes://", "shapes://many", "shapes://0", "shapes://9?size=3", "shapes://9?sides=3"])
def test_wrong_shapes_are_named(uri):
    with pytest.raises(SettingsError, match=r"shapes://COUNT\?size=PIXELS&seed=NUMBER"):
        sources.normalize(uri)


# --- the job ----------------------------------------------------------------------------------------------------------


def mixed_folder() -> dict[str, bytes]:
    rotated = Image.Exif()
    rotated[0x0112] = 6
    return {
        "good/a.jpg": jpeg(seed=1),
        "good/deeper/b.jpg": jpeg(600, 700, seed=2),
        "good/deeper/copy of a.jpg": jpeg(seed=1),
        "good/rotated.jpg": jpeg(seed=3, exif=rotated),
        "good/cmyk.jpg": as_form(colour_picture().convert("CMYK"), "JPEG"),
        "good/alpha.png": as_form(colour_picture(220, 300).convert("RGBA"), "PNG"),
        "bad/gray.jpg": pictures.encoded(pictures.gray(200, 300), "JPEG"),
        "bad/gray 16.png": png16(),
        "bad/tiny.jpg": jpeg(20, 20),
        "bad/truncated.jpg": jpeg()[:5000],
        "bad/empty.jpg": b"",
        "bad/text.jpg": b"this is no picture",
        "bad/bomb.png": bomb(),
    }


def write_files(place: str, files: dict[str, bytes]) -> str:
    for key, data in files.items():
        storage.write(uris.join(place, key), data)
    return place


def settings(source: str, output: str, **options) -> PrepareSettings:
    return PrepareSettings(input=(source,), output=output, license="CC0-1.0", held_out=0.3, **options)


def contents(place: str) -> dict[str, bytes]:
    return {found.key: storage.read(found.uri).data for found in storage.listing(place)}


def rows_of(data: bytes) -> list[dict]:
    return pq.read_table(io.BytesIO(data)).to_pylist()


def check_mixed(source: str, output: str) -> None:
    found = contents(output)
    assert set(found) == {"train-00000.parquet", "val-00000.parquet", "rejected.parquet", "prepare.json"}
    rows = rows_of(found["train-00000.parquet"]) + rows_of(found["val-00000.parquet"])
    assert {row["name"]: (row["width"], row["height"]) for row in rows} == {
        "good/a.jpg": (300, 200),
        "good/deeper/b.jpg": (597, 512),
        "good/rotated.jpg": (200, 300),
        "good/cmyk.jpg": (300, 200),
        "good/alpha.png": (300, 220),
    }
    assert {(row["source"], row["license"], row["kind"]) for row in rows} == {(source, "CC0-1.0", "")}
    for row in rows:
        assert Image.open(io.BytesIO(row["image"])).size == (row["width"], row["height"])
    rejected = {row["uri"].removeprefix(source + "/"): row["reason"] for row in rows_of(found["rejected.parquet"])}
    assert {name: reason.partition(":")[0] for name, reason in rejected.items()} == {
        "good/deeper/copy of a.jpg": "duplicate",
        "bad/gray.jpg": "gray",
        "bad/gray 16.png": "gray",
        "bad/tiny.jpg": "too small",
        "bad/truncated.jpg": "unreadable",
        "bad/empty.jpg": "unreadable",
        "bad/text.jpg": "unreadable",
        "bad/bomb.png": "too large",
    }
    description = json.loads(found["prepare.json"])
    assert description["kept"] + description["held_out"] == 5 and description["held_out"] >= 1
    assert description["rejected"] == {"unreadable": 3, "gray": 2, "duplicate": 1, "too large": 1, "too small": 1}


def test_a_mixed_folder_and_reruns(ray_local, tmp_path, capsys):
    source, output = write_files(str(tmp_path / "in"), mixed_folder()), str(tmp_path / "out")
    assert prepare(settings(source, output)) == 0
    check_mixed(source, output)
    table = capsys.readouterr().out
    assert "kept for training" in table and "too large" in table
    first = contents(output)

    assert prepare(settings(source, output)) == 0
    assert "nothing to do" in capsys.readouterr().out
    storage.delete(uris.join(output, "train-00000.parquet"))
    assert prepare(settings(source, output)) == 0
    assert contents(output) == first  # made again, byte for byte

    training = collection.find(output)
    assert sum(shard.rows for shard in training.train) + sum(shard.rows for shard in training.held_out) == 5


def test_another_run_replaces_all_shards_of_the_one_before(ray_local, tmp_path):
    source, output = write_files(str(tmp_path / "in"), mixed_folder()), str(tmp_path / "out")
    storage.write(uris.join(output, "train-00007.parquet"), b"of an earlier run")
    with pytest.raises(SettingsError, match="did not write"):
        prepare(settings(source, output))
    storage.write(uris.join(output, "prepare.json"), b'{"digest": "of an earlier run"}')
    assert prepare(settings(source, output)) == 0
    check_mixed(source, output)


def test_from_s3_to_s3_with_the_owners_wishes(s3, s3_server):
    """In a process of its own, because the workers of a Ray have the environment in which it was started."""
    source, output = write_files(f"{s3}/in", mixed_folder()), f"{s3}/out"
    command = [sys.executable, "-m", "jobs.prepare", "--input", source, "--output", output]
    command += ["--held-out", "0.3", "--license", "CC0-1.0", "--requester-pays", "--acl", "private"]
    with running_proxy(s3_server.endpoint) as proxy:
        env = {**os.environ, "AWS_ENDPOINT_URL": proxy.endpoint}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert ended.returncode == 0, ended.stderr
    check_mixed(source, output)
    fetched = [each for each in proxy.requests if each.method == "GET" and each.key.startswith("in/")]
    written = [each for each in proxy.requests if each.method == "PUT"]
    assert len(fetched) >= len(mixed_folder()) and len(written) > 4
    assert {each.headers.get("x-amz-request-payer") for each in fetched} == {"requester"}  # those of workers, too
    assert {each.headers.get("x-amz-acl") for each in written} == {"private"}
    assert "s3" not in json.loads(contents(output)["prepare.json"])["settings"]


def deadly(block: pa.Table, work: parts.Work) -> pa.Table:
    if any("poison" in name for name in block["name"].to_pylist()):
        os.kill(os.getpid(), signal.SIGKILL)
    return screen_block(block, work)


screen_block = job._screen_block


def test_a_file_that_kills_its_worker_is_given_up(ray_local, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "_screen_block", deadly)
    monkeypatch.setattr(job, "_block_rows", lambda count: 3)
    files = {f"{index}.jpg": jpeg(seed=index) for index in range(5)} | {"2 poison.jpg": jpeg(seed=9)}
    source, output = write_files(str(tmp_path / "in"), files), str(tmp_path / "out")
    assert prepare(settings(source, output)) == 0
    rejected = rows_of(contents(output)["rejected.parquet"])
    assert [row["uri"].rpartition("/")[2] for row in rejected] == ["2 poison.jpg"]
    assert rejected[0]["reason"].startswith("deadly: its worker process died")
    assert sum(len(rows_of(data)) for key, data in contents(output).items() if key[:3] in ("tra", "val")) == 5


def test_nothing_usable_is_an_error_that_leaves_the_list(ray_local, tmp_path):
    source = write_files(str(tmp_path / "in"), {"a.txt": b"nothing"})
    with pytest.raises(ColornetError, match="none of the 1 files can be used"):
        prepare(settings(source, str(tmp_path / "out")))
    assert len(rows_of(contents(str(tmp_path / "out"))["rejected.parquet"])) == 1


def test_limit_and_mixed_inputs(ray_local, tmp_path):
    source = write_files(str(tmp_path / "in"), {"a.jpg": jpeg()})
    inputs = (source, "shapes://50?size=16&seed=3")
    assert prepare(PrepareSettings(input=inputs, output=str(tmp_path / "out"), limit=11, source="mine")) == 0
    found = contents(str(tmp_path / "out"))
    rows = rows_of(found["train-00000.parquet"]) + rows_of(found["val-00000.parquet"])
    assert len(rows) == 11 and {row["source"] for row in rows} == {"mine"}
    assert sum(row["kind"] in KINDS for row in rows) == 10


def test_a_name_that_is_not_utf8_is_rejected_with_its_reason(ray_local, tmp_path, capsys):
    source = write_files(str(tmp_path / "in"), {"a.jpg": jpeg()})
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.jpg")).write_bytes(jpeg(seed=1))
    Path(source, "broken.jpg").symlink_to("nothing")
    assert prepare(settings(source, str(tmp_path / "out"))) == 0
    assert "1 links that lead nowhere" in capsys.readouterr().out
    found = contents(str(tmp_path / "out"))
    (rejected,) = rows_of(found["rejected.parquet"])
    assert rejected["uri"] == f"{source}/caf\\xe9.jpg" and "not UTF-8" in rejected["reason"]
    assert json.loads(found["prepare.json"])["found"] == 2


def test_kinds_are_told_and_gray_is_kept(ray_local, tmp_path, capsys):
    files = {f"people/{seed}.jpg": jpeg(seed=seed) for seed in range(4)} | {
        "sea/a.png": muted(1),
        "sea/b.png": muted(2),
    }
    source, output = write_files(str(tmp_path / "in"), files), str(tmp_path / "out")
    made = dataclasses.replace(settings(source, output), held_out=0.0, kind_from="folder", keep_gray=0.2)
    assert prepare(made) == 0
    assert re.search(r"kept for training +5\n  people +4\n  sea +1\n", capsys.readouterr().out)
    description = json.loads(contents(output)["prepare.json"])
    assert description["kinds"] == {"people": 4, "sea": 1} and description["rejected"] == {"gray": 1}


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "{0}/in", "--output", "{0}/in/shards"], "must lie apart"),
        (["--input", "{0}/in", "--output", "{0}/in"], "must lie apart"),
        (["--input", "{0}/nothing", "--output", "{0}/out"], "nothing"),
        (["--input", "{0}/in", "--output", "ftp://out"], "unknown scheme"),
        (["--input", "{0}/in", "--output", "{0}/out", "--held-out", "1"], "held-out"),
        (["--input", "{0}/in", "--output", "{0}/out", "--short-side", "3"], "short_side should be"),
        (["--input", "{0}/in", "--output", "{0}/out", "--keep-gray", "1"], "keep-gray must be at least 0"),
        (["--input", "shapes://9?size=1", "--output", "{0}/out"], "size"),
    ],
    ids=["inside", "same", "missing", "scheme", "held-out", "short-side", "keep-gray", "shapes"],
)
def test_wrong_settings_end_with_exit_code_2_before_ray_starts(tmp_path, arguments, words, monkeypatch, capsys):
    write_files(str(tmp_path / "in"), {"a.jpg": b"never read"})
    monkeypatch.setattr(job, "start_ray", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.setattr(sys, "argv", ["jobs.prepare", *(argument.format(tmp_path) for argument in arguments)])
    with pytest.raises(SystemExit) as ended:
        job.main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_the_command_line_of_a_user(tmp_path):
    command = [sys.executable, "-m", "jobs.prepare", "--input", str(tmp_path / "nothing"), "--output", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1
