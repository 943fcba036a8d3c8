"""jobs.evaluate: two bundles and the trivial colorizers on held-out photographs, and what is wrong before it starts."""

import io
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.color
import torch
from PIL import Image

from colornet.errors import ColornetError, SettingsError
from colornet.evaluation import photographs
from colornet.evaluation.calibration import MEASURES, PIXELS
from colornet.evaluation.measure import EvaluationTask, Measure, Model, find_models
from colornet.evaluation.metrics import METRICS
from colornet.evaluation.perceptual_networks import PerceptualNetworks
from colornet.evaluation.reference import Reference
from colornet.evaluation.report import Evaluation
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.metrics.chroma_error import BINS
from colornet.networks import build_generator
from colornet.storage import S3Options, Storage
from jobs import evaluate as job
from jobs.evaluate import EvaluateSettings, evaluate
from tests import pictures
from tests.faulty_s3 import running_proxy

storage = Storage()

SIZE = 32
EVEN = np.ones(BINS, np.float32)


def bundle(place: Path, seed: int) -> str:
    torch.manual_seed(seed)
    generator = build_generator("unet", {"width": 2})
    bundles.save(Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=SIZE), str(place))
    return str(place)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """5 photographs to measure, one of them damaged, and 3 that trained."""
    folder = tmp_path_factory.mktemp("shards")
    images = [pictures.encoded(pictures.colour(40, 50, seed), "PNG") for seed in range(8)]
    images[2] = images[2][:60]
    pq.write_table(pa.table({"image": images[:5]}), folder / "val-00000.parquet", row_group_size=3)
    pq.write_table(pa.table({"image": images[5:]}), folder / "train-00000.parquet")
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return bundle(folder / "new", 0), bundle(folder / "<old>", 1)


@pytest.fixture(scope="module")
def output(ray_local, data, models, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    assert evaluate(EvaluateSettings(model=models[0], compare=models[1:], data=data, output=str(folder))) == 0
    return folder


def test_every_photograph_has_a_row_for_every_colorizer(output):
    rows = pq.read_table(output / "evaluation.parquet")
    assert sorted(zip(rows["row"].to_pylist(), rows["colorizer"].to_pylist(), strict=True)) == [
        (row, name) for row in (0, 1, 3, 4) for name in ("<old>", "gray", "mean colour", "new")
    ]
    assert set(METRICS) < set(rows.column_names)


def test_the_results_are_the_means_of_the_rows(output, data, models):
    found = json.loads((output / "evaluation.json").read_text())
    rows = pq.read_table(output / "evaluation.parquet").to_pylist()
    assert [model["uri"] for model in found["models"]] == list(models)
    assert (found["photographs"], found["size"], found["data"]) == (4, SIZE, data)
    assert [each["photograph"] for each in found["unreadable"]] == ["val-00000.parquet, row group 0, row 2"]
    assert found["unreadable"][0]["reason"].startswith("unreadable: ")
    errors = {
        name: np.array([row["ciede2000"] for row in rows if row["colorizer"] == name]) for name in found["results"]
    }
    assert list(errors) == ["new", "<old>", "gray", "mean colour"]
    for name, each in errors.items():
        estimate = found["results"][name]["ciede2000"]
        assert estimate["mean"] == pytest.approx(each.mean())
        assert each.min() <= estimate["low"] <= estimate["mean"] <= estimate["high"] <= each.max()
    difference = found["differences"]["<old> - new"]["ciede2000"]
    assert difference["mean"] == pytest.approx((errors["<old>"] - errors["new"]).mean())
    gray = found["results"]["gray"]
    assert gray["colourfulness"]["mean"] == 0 and gray["bleeding"]["mean"] is None
    assert all(results["lightness_error"]["mean"] < 0.5 for results in found["results"].values())


def test_the_mean_colour_is_that_of_the_training_photographs(output, data):
    found = json.loads((output / "evaluation.json").read_text())["reference"]
    assert (found["of"], found["photographs"]) == ("training photographs", 3)
    squares = [
        np.asarray(Image.open(io.BytesIO(image)).crop((5, 0, 45, 40)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        for image in pq.read_table(Path(data) / "train-00000.parquet")["image"].to_pylist()
    ]
    lab = skimage.color.rgb2lab(np.stack(squares))
    assert [found["mean_a"], found["mean_b"]] == pytest.approx(lab[..., 1:].mean((0, 1, 2)).tolist(), abs=0.3)


def test_the_page_shows_all_photographs_beside_what_was_made_of_them(output):
    page = (output / "comparison.html").read_text()
    assert page.count("<section>") == 4 and page.count("data:image/jpeg;base64,") == 4 * 4
    assert "&lt;old&gt;" in page and "<old>" not in page


def test_calibration_can_be_computed_again_from_the_rows(output):
    found = json.loads((output / "evaluation.json").read_text())
    rows = pq.read_table(output / "evaluation.parquet").to_pylist()
    for name, measures in found["calibration"].items():
        mine = {k: np.array([row[k] for row in rows if row["colorizer"] == name]) for k in rows[0] if k in PIXELS}
        assert measures["bias_a"]["mean"] == pytest.approx(mine["predicted_a"].mean() - mine["true_a"].mean())
        if name != "gray":
            gain = mine["product_b"].mean() / mine["predicted_squared_b"].mean()
            assert measures["gain_b"]["mean"] == pytest.approx(gain)
            assert measures["gain_b"]["low"] <= gain <= measures["gain_b"]["high"]
    assert found["calibration"]["gray"]["gain_a"]["mean"] is None
    assert set(found["measures"]) == set(found["calibration"]["new"]) == set(MEASURES)
    gained = [found["results"][name]["psnr"]["mean"] for name in ("new", "gray")]
    assert found["calibration"]["new"]["psnr_over_gray"]["mean"] == pytest.approx(gained[0] - gained[1])
    assert list(found["calibration_differences"]) == ["<old> - new"] and found["equal_kinds"] is False
    assert [(kind["name"], kind["photographs"]) for kind in found["kinds"]] == [("other", 4)]
    assert [quarter["photographs"] for quarter in found["quarters"]] == [1, 1, 1, 1]
    assert list(found["quarters"][0]["psnr_over_gray"]) == ["new", "<old>", "mean colour"]
    page = (output / "comparison.html").read_text()
    assert "<h2>Calibration</h2>" in page and "gain in a*" in page and "least colourful quarter" in page


def described(folder: Path, name: str, images: list[bytes], **columns: list[str | None]) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table({"image": images, **columns}), folder / name, row_group_size=2)


def test_kinds_come_from_the_column_or_from_the_source_and_may_count_the_same(tmp_path, models):
    images = [pictures.encoded(pictures.colour(40, 50, seed), "PNG") for seed in range(7)]
    described(tmp_path / "a", "val.parquet", images[:3], source=["x", "x", "y"])
    described(tmp_path / "b", "val-extra.parquet", images[3:6], source=["x", "z", "z"], kind=["scene", "food", None])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "large.png").write_bytes(pictures.encoded(pictures.colour(300, 300, 9), "PNG"))
    found = photographs.find_all([str(tmp_path / place) for place in "abc"])
    items = found.items({"x": "object"})
    assert items["kind"].to_pylist() == ["object", "object", "other", "scene", "food", "other", "other"]
    assert items["row"].to_pylist() == list(range(7)) and items["source"].to_pylist()[-2:] == ["z", None]
    size = 16
    task = EvaluationTask(find_models([models[0]])[0], Reference("training photographs", 1, 3.0, 4.0, EVEN), size)
    rows = Measure(task)(items).drop_columns("features")
    plain, equal = (Evaluation("data", task, rows, equal_kinds=each) for each in (False, True))
    for name in ("new", "gray"):
        errors = np.array([row["ciede2000"] for row in rows.to_pylist() if row["colorizer"] == name])
        by_kind = [errors[[kind == each for kind in items["kind"].to_pylist()]].mean() for each in set(equal.kinds)]
        assert plain.results[0][name]["ciede2000"].mean == pytest.approx(errors.mean())
        assert equal.results[0][name]["ciede2000"].mean == pytest.approx(np.mean(by_kind))
    over_gray = {part.name: part.psnr_over_gray["new"].mean for part in equal.parts[0]}
    assert equal.calibration[0]["new"]["psnr_over_gray"].mean == pytest.approx(np.mean(list(over_gray.values())))
    assert "each kind counts the same: food 1, object 2, other 3, scene 1." in " ".join(equal.notes())
    assert not any("counts the same" in note for note in plain.notes())
    with pytest.raises(SettingsError, match="no photograph without a kind has the source 'w'"):
        found.items({"x": "object", "w": "scene"})
    with pytest.raises(SettingsError, match=r"a/val\.parquet is given twice"):
        photographs.find_all([str(tmp_path / "a"), str(tmp_path / "a" / "val.parquet")])


def test_a_folder_without_a_photograph_is_an_error_that_names_a_file(tmp_path, models):
    places = {"model": models[0], "data": str(tmp_path / "data"), "output": str(tmp_path / "out")}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jpg").write_bytes(b"broken")
    with pytest.raises(SettingsError, match=r"none of 1 measured photographs can be read; a.jpg: unreadable"):
        evaluate(EvaluateSettings(**places))


def test_that_nothing_could_be_read_is_an_error_that_names_a_photograph(data):
    items = photographs.find(data).items().slice(2, 1)
    task = EvaluationTask(models=(), reference=Reference("training photographs", 1, 0.0, 0.0, EVEN), size=8)
    evaluation = Evaluation(data, task, Measure(task)(items))
    with pytest.raises(ColornetError, match=r"none of the 1 photographs in .* can be read; val-00000.parquet, row"):
        evaluation.check()


def test_what_ends_the_job_is_told_by_its_worker(ray_local, tmp_path, data):
    model = Model("gone", str(tmp_path), "")
    reference = Reference("training photographs", 1, 0.0, 0.0, EVEN)
    task = EvaluationTask(models=(model,), reference=reference, size=8)
    with pytest.raises(ColornetError, match="not a model bundle"):
        list(job._measure(photographs.find(data).items(), task, PerceptualNetworks(), gpu_share=0))


def test_options_of_s3_reach_the_job_and_its_workers(s3, s3_server, monkeypatch, tmp_path):
    bundle(tmp_path / "bundle", 0)
    for file in (tmp_path / "bundle").iterdir():
        storage.write(f"{s3}/bundle/{file.name}", file.read_bytes())
    storage.write(f"{s3}/data/a.png", pictures.encoded(pictures.colour(300, 300), "PNG"))
    wishes = S3Options(requester_pays=True)
    with running_proxy(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(ColornetError, match="not a model bundle"):
            evaluate(EvaluateSettings(model=f"{s3}/nothing", data=f"{s3}/data", output=f"{s3}/out", s3=wishes))
        assert {each.headers.get("x-amz-request-payer") for each in proxy.requests} == {"requester"}

        model = Model("bundle", f"{s3}/bundle", bundles.load(f"{s3}/bundle").digest)
        items = photographs.find(f"{s3}/data").items()
        reference = Reference("training photographs", 1, 0.0, 0.0, EVEN)
        proxy.requests.clear()
        rows = Measure(EvaluationTask(models=(model,), reference=reference, size=SIZE, storage=Storage(wishes)))(items)
        assert rows["colorizer"].to_pylist() == ["bundle", "gray", "mean colour"]
        asked = {(each.key, each.headers.get("x-amz-request-payer")) for each in proxy.requests}
        assert ("data/a.png", "requester") in asked and {payer for _, payer in asked} == {"requester"}


class Deadly:
    """Dies as a decoder that corrupts memory would: the whole process, without a word."""

    def __init__(self, task: EvaluationTask, perceptual_networks: object) -> None:
        pass

    def __call__(self, batch: pa.Table) -> pa.Table:
        os.kill(os.getpid(), signal.SIGKILL)
        return batch


@pytest.mark.faults
def test_photographs_that_are_lost_with_their_worker_are_missed(ray_local, data, models, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "_worker", Deadly)
    monkeypatch.setattr(job, "ATTEMPTS", 1)
    with pytest.raises(ColornetError, match="5 photographs were lost"):
        evaluate(EvaluateSettings(model=models[0], data=data, output=str(tmp_path)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "{tmp}/nothing"], "not a model bundle"),
        (["--compare", "{model}"], "the same bundle is given twice"),
        (["--data", "{tmp}/nothing"], "nothing"),
        (["--output", "{data}/evaluation"], "must lie outside"),
        (["--kind", "objects"], "each must be SOURCE=KIND, not 'objects'"),
        (["--kind", "=object"], "each must be SOURCE=KIND, not '=object'"),
        (["--kind", "x="], "each must be SOURCE=KIND, not 'x='"),
        (["--kind", "x=a", "x=b"], "'x' is given twice, as 'a' and 'b'"),
        (["--hint-counts", "0", "5"], "takes no hints: it was trained without them"),
        (["--hint-counts", "-1"], "hint_counts.0 should be greater than or equal to 0"),
        (["--kind", "nowhere=object"], "has the source 'nowhere'"),
        (["--lpips-weights", "{tmp}/nothing.pth"], "nothing.pth"),
        (["--lpips-weights", "{data}/val-00000.parquet"], "weights cannot be read from"),
        (["--fid-weights", "{data}/val-00000.parquet"], "weights cannot be read from"),
        pytest.param(
            ["--gpu-share", "1"],
            "gpu-share needs a GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
        ),
    ],
)
def test_wrong_settings_end_with_exit_code_2_before_ray_starts(
    tmp_path, data, models, arguments, words, monkeypatch, capsys
):
    given = {"--model": [models[0]], "--data": [data], "--output": [str(tmp_path / "out")]}
    given[arguments[0]] = [each.format(tmp=tmp_path, data=data, model=models[0]) for each in arguments[1:]]
    monkeypatch.setattr(job, "start_ray", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.setattr(
        sys, "argv", ["jobs.evaluate", *(word for flag, told in given.items() for word in (flag, *told))]
    )
    with pytest.raises(SystemExit) as ended:
        job.main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_settings_take_kinds_as_pairs_and_one_place_as_text(tmp_path):
    line = ["--data", "a", "b", "--output", "c", "--kind", "faces=people", "a=b=scene", "--equal-kinds"]
    settings = job.main.parse(line, "evaluate").settings
    assert (settings.data, settings.equal_kinds) == (("a", "b"), True)
    assert settings.kind == {"faces": "people", "a=b": "scene"}
    (tmp_path / "e.toml").write_text('data = "a"\noutput = "c"\n[kind]\nfaces = "people"\n')
    configured = job.main.parse(["--config", str(tmp_path / "e.toml")], "evaluate").settings
    assert (configured.data, configured.kind) == (("a",), {"faces": "people"})
    assert EvaluateSettings(data="a", output="c").data == ("a",)
    with pytest.raises(SettingsError, match="data"):
        EvaluateSettings(data=(), output="c")


def test_a_sample_is_of_at_least_one_photograph():
    with pytest.raises(SettingsError, match="sample should be greater than or equal to 1, not 0"):
        EvaluateSettings(model="a", data="b", output="c", sample=0)
