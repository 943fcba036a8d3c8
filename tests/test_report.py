"""Panels, plot, page and events show what a run recorded, whatever that is, and nothing else."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from lxml import etree
from PIL import Image
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from colornet.color import lab
from colornet.training import health, report
from colornet.training.report import EventFile, curves, topics


def decode(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_panel_shows_truth_gray_and_colour():
    photographs = torch.empty(2, 3, 50, 50, dtype=torch.uint8)
    photographs[0] = torch.tensor([200, 40, 40], dtype=torch.uint8)[:, None, None]
    photographs[1] = torch.tensor([40, 40, 200], dtype=torch.uint8)[:, None, None]
    _, truth = lab.split_scaled(photographs)
    picture = decode(report.panel(photographs, truth.flip(0)))  # each is colorized as the other is
    side = 150  # 50 pixels, three times
    assert picture.shape == (
        report.HEADER + 2 * (side + report.GAP) + report.GAP,
        3 * (side + report.GAP) + report.GAP,
        3,
    )
    middles = [[middle(picture, row, column, side) for column in range(3)] for row in range(2)]
    assert middles[0][0].tolist() == [200, 40, 40] and middles[1][0].tolist() == [40, 40, 200]
    for row in middles:
        assert np.ptp(row[1]) <= 1  # gray
    assert middles[0][2][2] > middles[0][2][0] and middles[1][2][0] > middles[1][2][2]  # blue for red, red for blue
    assert (picture[: report.HEADER] < 128).any(), "the titles are missing"


def middle(picture: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    top = report.HEADER + report.GAP + row * (side + report.GAP) + side // 2
    return picture[top, report.GAP + column * (side + report.GAP) + side // 2].astype(int)


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "generator_loss": 5 - epoch / 2,
            "adversarial_loss": 1 + epoch / 10,
            "discriminator_accuracy": 0.9 - epoch / 20,
        }
        for epoch in range(1, epochs + 1)
    ]


def test_the_plot_is_blue_and_red():
    for epochs in (1, 5):
        picture = decode(report.plot(history(epochs))).astype(int)
        assert picture.shape[1::-1] == report.PLOT_SIZE
        red, green, blue = picture.reshape(-1, 3).T
        assert ((blue > 150) & (red < 60)).sum() > 100
        assert ((red > 190) & (blue < 60) & (green < 60)).sum() > 100


def test_the_table_is_json():
    assert json.loads(report.table(history(3))) == history(3)


# --- the plot with verdicts -------------------------------------------------------------------------------------------

BAD = (None, math.nan, math.inf, -math.inf, "", "text $x_1$ \x00 <b>")
"""What may stand in a history where a number or a name is expected."""


def run(epochs: int, **changes: object) -> list[dict]:
    """A run as the trainer records it: two epochs of a first stage, then adversarial training."""
    return [
        {
            "epoch": epoch,
            "stage": "pre-training" if epoch <= 2 else "adversarial",
            "steps": 100 * epoch,
            "photographs": 3200 * epoch,
            "workers": 2,
            "generator_loss": 5 - epoch / 50,
            "adversarial_loss": 1 + epoch / 100,
            "reconstruction_loss": 0.5 / epoch,
            "distribution_loss": 2.0,
            "perceptual_loss": 0.7,
            "discriminator_loss": 0.4,
            "gradient_penalty_loss": 0.01,
            "generator_gradient_norm": 1.5,
            "discriminator_gradient_norm": 2.5,
            "generator_learning_rate": 2e-4,
            "discriminator_learning_rate": 1e-4,
            "discriminator_accuracy": 0.8,
            "accuracy_after_retraining": math.nan,
            "retraining_steps": 0,
            "held_out_error": 12 + 1 / epoch,
            "mean_chroma": 10.0,
            "true_mean_chroma": 17.0,
            "hue_concentration": 0.5,
            "true_hue_concentration": 0.3,
            "psnr": 23.0,
            "gain_a": 0.4,
            "gain_b": 0.9,
            "bias_a": 2.0,
            "bias_b": -1.0,
            "correlation_a": 0.1,
            "correlation_b": 0.5,
            "worse_than_gray": 0.25,
            "nearly_gray": 7,
            "seconds": 60.0,
            "photographs_per_second": 53.0,
            "waiting_for_data": 0.02,
            "finished": 1.7e9 + 60 * epoch,
            "verdict": "healthy",
            "verdict_sentence": "the networks are balanced",
            "action": "go_on",
            **changes,
        }
        for epoch in range(1, epochs + 1)
    ]


def with_bad_values() -> list[dict]:
    """Each name has each bad value in some epoch, and is missing from another."""
    names = list(run(1)[0])
    epochs = [{name: BAD[(row + column) % len(BAD)] for column, name in enumerate(names)} for row in range(len(BAD))]
    return [{}, *epochs, {}]


def test_the_plot_marks_failures_in_their_colours_for_as_long_as_they_last():
    failures = [state for state in health.State if state is not health.State.HEALTHY]
    lengths = {state: 3 + 2 * place for place, state in enumerate(failures)}
    names = [str(state) for state, length in lengths.items() for _ in range(length)]
    epochs = [each | {"verdict": name} for each, name in zip(run(len(names)), names, strict=True)]
    picture, plain = decode(report.plot(epochs)), decode(report.plot(run(len(names))))
    pixels = {}
    for state in failures:
        colour = list(bytes.fromhex(topics.VERDICTS[state][1:]))
        pixels[state] = (picture == colour).all(axis=-1).sum()
        assert (plain == colour).all(axis=-1).sum() < 0.3 * pixels[state]
    slope, legend = np.polyfit(list(lengths.values()), list(pixels.values()), 1)
    assert slope > 100 and legend > 100  # each epoch has its part of the strip, each state a legend
    for state, length in lengths.items():
        assert abs(pixels[state] - (legend + slope * length)) < 0.5 * slope


def test_a_stage_and_a_verdict_change_the_plot():
    unknown = {"verdict": "a verdict of tomorrow $_$"}
    assert len({report.plot(run(6, **changes)) for changes in ({}, {"stage": "adversarial"}, unknown)}) == 3


def test_the_plot_takes_epochs_without_the_duels_numbers():
    assert decode(report.plot([])).shape[1::-1] == report.PLOT_SIZE
    assert decode(report.plot(with_bad_values())).shape[1::-1] == report.PLOT_SIZE
    alone = [{"epoch": 1}, {"epoch": 2, "generator_loss": 3.0, "discriminator_accuracy": math.nan}, {"epoch": 3}]
    red, _, blue = decode(report.plot(alone)).astype(int).reshape(-1, 3).T
    assert ((blue > 150) & (red < 60)).sum() > 20, "an epoch between two others without numbers is not to be seen"


def test_the_table_has_null_for_what_json_has_not():
    assert json.loads(report.table([{"epoch": 1, "psnr": math.nan, "stage": "a", "x": math.inf, "y": None}])) == [
        {"epoch": 1, "psnr": None, "stage": "a", "x": None, "y": None}
    ]


# --- the page ---------------------------------------------------------------------------------------------------------

ABOUT = {
    "name": "A run",
    "recipe": {
        "seed": 20261,
        "networks": {"generator": "unet"},
        "stages": [{"name": "adversarial", "losses": {"l1": 1e-05}}],
    },
    "data": {"photographs": 9, "sources": [{"name": "Open", "licence": "CC0"}, {"name": "Own", "photographs": 3}]},
    "hardware": ["a GPU", "16 cores"],
}


class Reader(HTMLParser):
    """Collects what is in a page, as a browser would see it."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(page.decode())
        assert not self.open, f"not closed: {self.open}"
        self.rows = [[cell.strip() for cell in row] for row in self.rows]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def flat(value: int) -> bytes:
    """A panel of one gray."""
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 700), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def whole() -> bytes:
    return whole_page()


def whole_page() -> bytes:
    epochs = run(12)
    for each in epochs[4:9]:
        each |= {"verdict": "gray_collapse", "verdict_sentence": "the output is nearly gray", "action": "warn"}
    return report.page(epochs, [(epoch, flat(10 * epoch)) for epoch in range(20, 0, -1)], ABOUT)


def test_a_page_needs_nothing_from_elsewhere_and_runs_nothing(whole):
    read = Reader(whole)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "foreignobject"} & set(read.tags)
    for name, value in read.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert value.startswith(("data:image/jpeg;base64,", "#")), value
    assert set(re.findall(rb"url\((.)", whole)) <= {b"#"} and b"@import" not in whole
    assert len(whole) < 2_000_000


def test_a_pages_figures_are_well_formed_and_refer_to_themselves(whole):
    figures = re.findall(rb"<svg.*?</svg>", whole, re.DOTALL)
    assert len(figures) == 15
    names = []
    for figure in figures:
        root = etree.fromstring(figure)
        own = [each.get("id") for each in root.iter("{*}*") if each.get("id")]
        referred = re.findall(rb'(?:href="#|url\(#)([^")]+)', figure)
        assert {each.decode() for each in referred} <= set(own)
        names += own
        texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert "epoch" in texts and b"#012345" not in figure
    assert len(names) == len(set(names)), "two figures have an element of the same name"


def test_only_topics_with_numbers_are_drawn():
    assert [each.title for each in curves.figures([])] == []
    assert [each.title for each in curves.figures(run(1, **dict.fromkeys(run(1)[0])))] == []
    gray = [{"epoch": 1, "psnr": 20.0, "held_out_error": math.nan}, {"epoch": 2, "photographs_per_second": 3}]
    titles = [each.title for each in curves.figures(gray)]
    assert len(titles) == 2 and titles[0].startswith("Signal") and titles[1].startswith("Throughput")


def test_a_run_without_a_discriminator_shows_the_held_out_error_beside_the_loss():
    alone = [{"epoch": epoch, "generator_loss": 1 / epoch, "held_out_error": 20.0 - epoch} for epoch in (1, 2)]
    fought = [{**epoch, "discriminator_accuracy": 0.8} for epoch in alone]
    for history, title, beside in (
        (alone, "The training", "mean a*b* distance"),
        (fought, "Adversarial training", "discriminator accuracy"),
    ):
        first, figure, _ = next(curves.figures(history))
        labels = {"".join(each.itertext()) for each in figure.iter("{http://www.w3.org/2000/svg}text")}
        assert first == title and {"generator loss", beside} <= labels
    assert report.plot(alone) != report.plot(fought)


def test_the_first_epoch_stands_on_a_whole_number():
    ((_, figure, _),) = curves.figures([{"epoch": 1, "psnr": 1000.0}])
    ticks = ["".join(each.itertext()) for each in figure.iter("{http://www.w3.org/2000/svg}text")]
    assert [tick for tick in ticks if re.fullmatch(r"\d(\.\d+)?", tick)] == ["1"]  # those of the PSNR are some hundred


def test_a_page_has_every_epochs_verdict(whole):
    verdicts = {}
    for row in Reader(whole).rows:
        found = re.fullmatch(r"epochs? (\d+)(?: to (\d+))?", row[0])
        if found and row[1].replace(" ", "_") in list(health.State):
            for epoch in range(int(found[1]), int(found[2] or found[1]) + 1):
                assert epoch not in verdicts
                verdicts[epoch] = row[1:]
    fine, gray = ["healthy", "the networks are balanced", ""], ["gray collapse", "the output is nearly gray"]
    assert verdicts == {
        epoch: [*gray, "warn (epoch 5, 6, 7, 8, 9)"] if 5 <= epoch <= 9 else fine for epoch in range(1, 13)
    }


def test_a_page_says_how_the_run_stands(whole):
    text = Reader(whole).text
    assert "After epoch 12, stage “adversarial”." in text
    for fact in ("12.08 in epoch 12", "25% of photographs", "10.0, true 17.0", "1,200", "38,400", "12 min 00 s"):
        assert fact in text, fact
    assert "2023-11-14 22:25 UTC" in text  # 1.7e9 s is 22:13:20 on that day


def test_a_page_says_what_good_calibration_looks_like(whole):
    text = Reader(whole).text
    told = {topic.lines[0].name: topic.good for topic in topics.TOPICS if topic.good}
    assert list(told) == ["gain_a", "bias_a", "correlation_a", "worse_than_gray"]
    assert all(sentence.startswith("Good: ") and sentence in text for sentence in told.values())


def test_a_page_has_the_recipe_data_and_hardware(whole):
    read = Reader(whole)
    for row in (["seed", "20261"], ["l1", "1e-05"], ["name", "licence", "photographs"], ["Open", "CC0", ""]):
        assert row in read.rows
    assert ["Own", "", "3"] in read.rows and "a GPU, 16 cores" in read.text


def test_throughput_is_weighted_with_time():
    epochs = [
        {"stage": "a", "seconds": 100.0, "photographs_per_second": 10.0, "nearly_gray": 8},
        {"stage": "a", "seconds": 300.0, "photographs_per_second": 20.0, "nearly_gray": 6},
    ]
    assert ["epochs 1 to 2", "a", "6 min 40 s", "17.5", "", "14"] in Reader(report.page(epochs, [], {})).rows


def test_a_page_shows_panels_through_time_newest_first(whole):
    sources = [value for name, value in Reader(whole).attributes if name == "src"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]
    epochs = [round(np.asarray(picture).mean() / 10) for picture in pictures]
    assert len(epochs) == 8 and epochs[0] == 20 and epochs[-1] == 1 and epochs == sorted(epochs, reverse=True)
    assert set(np.diff(epochs)) <= {-2, -3}
    assert {picture.size for picture in pictures} == {(512, 358)}
    captions = [text for text in Reader(whole).texts if re.fullmatch(r"epoch \d+", text)]
    assert captions == [f"epoch {epoch}" for epoch in epochs]


def test_a_damaged_panel_is_named():
    page = report.page([], [(3, flat(9)[:200]), (4, b""), (5, flat(9))], {})
    assert page.count(b"the panel is damaged") == 2 and page.count(b"<img") == 1


def test_hostile_names_are_no_markup():
    hostile = "\"'></td></style></title><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\x00\ud800"
    seen = "\"'></td></style></title><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\ufffd\ufffd"

    def page(name: str) -> Reader:
        texts = dict.fromkeys(("stage", "verdict", "verdict_sentence", "action"), name)
        epochs = [{"epoch": epoch, "generator_loss": 1.0, "seconds": 1.0, **texts} for epoch in (1, 2)]
        about = {
            "name": name,
            "recipe": {name: [name, {name: name}]},
            "data": [{"licence": name, name: 1}],
            "hardware": {name: name},
        }
        return Reader(report.page(epochs, [], about))

    tame, wild = page("tame"), page(hostile)
    assert wild.tags == tame.tags
    assert [name for name, _ in wild.attributes] == [name for name, _ in tame.attributes]
    assert sum(seen in each for each in wild.texts) >= 12


def test_a_page_takes_whatever_an_epoch_has():
    assert Reader(report.page([], [], {})).text
    assert Reader(report.page(with_bad_values(), [], {"name": None, "recipe": {}, "data": [None, []]})).tags
    for old in ({}, {"epoch": 7.0}, {"finished": 1e300, "held_out_error": 3}):
        assert Reader(report.page([old], [], {})).text


def test_the_same_run_gives_the_same_bytes(whole):
    assert whole_page() == whole


# --- TensorBoard ------------------------------------------------------------------------------------------------------


EVERYTHING = {"scalars": 0, "tensors": 0, "images": 0}


def read_events(path: Path) -> EventAccumulator:
    return EventAccumulator(str(path), size_guidance=EVERYTHING)


def write_events(path: Path, epochs: list[dict], panels: dict[int, bytes] | None = None, resumed: int = 0) -> None:
    """Write an epoch after the other, as a run does, those after `resumed`."""
    panels = panels or {}
    file = EventFile(path, epochs[:resumed], panels.get(resumed))
    for last in range(resumed + 1, len(epochs) + 1):
        file.add(epochs[:last], panels.get(last))
    file.close()


def test_tensorboard_reads_every_number(tmp_path):
    epochs = run(3)
    epochs[1]["psnr"] = math.nan
    path = tmp_path / "events.out.tfevents.run"
    write_events(path, epochs, {2: flat(50), 3: b"damaged"})
    read = read_events(path).Reload()
    of_group = {tag.split("/")[1]: tag for tag in read.Tags()["scalars"]}
    text = {"stage", "verdict", "verdict_sentence", "action"}
    assert set(of_group) == set(epochs[0]) - text - {"steps", "finished", "accuracy_after_retraining"}
    for name, tag in of_group.items():
        points = [(each.step, each.wall_time, each.value) for each in read.Scalars(tag)]
        expected = [
            (each["steps"], each["finished"], np.float32(each[name])) for each in epochs if not math.isnan(each[name])
        ]
        assert points == expected
    verdicts = read.Tensors("verdict/text_summary")
    assert [each.step for each in verdicts] == [100, 200, 300]
    assert verdicts[2].tensor_proto.string_val[0] == b"Epoch 3: healthy: the networks are balanced. Action: go on."
    (picture,) = read.Images("held_out_photographs")
    assert (picture.step, picture.width, picture.height) == (200, 512, 358)
    assert abs(np.asarray(Image.open(io.BytesIO(picture.encoded_image_string))).mean() - 50) < 2


def test_a_reader_sees_each_epoch_when_it_is_added(tmp_path):
    path = tmp_path / "events.out.tfevents.run"
    file, read = EventFile(path), read_events(path)
    assert read.Reload().Tags()["scalars"] == []
    for last in (1, 2, 3):
        before = path.read_bytes()
        file.add(run(last), flat(last))
        assert path.read_bytes().startswith(before)
        assert [each.step for each in read.Reload().Scalars("held_out/psnr")] == [100, 200, 300][:last]
        assert len(read.Images("held_out_photographs")) == last


@pytest.mark.parametrize("running", [True, False])
def test_a_run_that_goes_on_from_an_earlier_epoch_has_each_epoch_once(tmp_path, running):
    """Epochs 4 and 5 are lost and trained again; of epoch 3 the first file may have nothing, if the run was killed."""
    first, again = run(5, psnr=20.0), run(6, psnr=30.0)
    write_events(tmp_path / "events.out.tfevents.00000.colornet", first, {1: flat(10), 3: flat(30), 5: flat(50)})
    read = read_events(tmp_path)
    if running:  # a reader that has seen what is lost forgets it
        assert [each.value for each in read.Reload().Scalars("held_out/psnr")] == [20] * 5
    write_events(tmp_path / "events.out.tfevents.00001.colornet", again, {3: flat(30), 6: flat(60)}, resumed=3)
    points = [(each.step, each.value) for each in read.Reload().Scalars("held_out/psnr")]
    assert points == [(100, 20), (200, 20), (300, 30), (400, 30), (500, 30), (600, 30)]
    assert [each.step for each in read.Images("held_out_photographs")] == [100, 300, 600]
    shown = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload()  # as TensorBoard reads text
    assert [each.step for each in shown.Tensors("verdict/text_summary")] == [100, 200, 300, 400, 500, 600]


def test_a_run_from_the_start_hides_an_earlier_one_in_the_same_place(tmp_path):
    write_events(tmp_path / "events.out.tfevents.00000.colornet", run(5))
    write_events(tmp_path / "events.out.tfevents.00001.colornet", run(2))
    assert [each.step for each in read_events(tmp_path).Reload().Scalars("held_out/psnr")] == [100, 200]


def test_the_same_run_gives_the_same_events(tmp_path):
    for name in ("a", "b"):
        write_events(tmp_path / name, run(4), {1: flat(7)}, resumed=2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_events_take_whatever_an_epoch_has(tmp_path):
    path = tmp_path / "events.out.tfevents.run"
    write_events(path, [*with_bad_values(), {"epoch": 9, "psnr": 20}])
    read = read_events(path).Reload()
    assert read.Tags()["scalars"] == ["held_out/psnr", "run/epoch"]
    assert [(each.step, each.value) for each in read.Scalars("held_out/psnr")] == [(9, 20.0)]
