"""The page is usable: landmarks, headings, tables, downloads, what to do, pictures without texture."""

from __future__ import annotations

import csv
import io
import math
import re
import webbrowser
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from matplotlib.figure import Figure

import ncollapse as nc
from ncollapse.cli import main
from ncollapse.record.run import Run
from ncollapse.report.actions import actions
from ncollapse.report.html import LARGEST, render_page
from ncollapse.report.plots import gram
from ncollapse.report.plots.strip import TICKS, scale
from tests.report.runs import folder, simplex


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(place: Path) -> str:
    return render_page(Run.read(place))


class Seen(HTMLParser):
    """Elements in their order, with attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_has_landmarks_headings_in_order_and_scoped_tables(page: str) -> None:
    seen = Seen(page)
    for landmark in ("header", "main", "footer", "h1"):
        assert len(seen.all(landmark)) == 1, landmark
    levels = [int(tag[1]) for tag, _ in seen.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(b <= a + 1 for a, b in pairwise(levels))
    assert all(cell.get("scope") in ("col", "row") for cell in seen.all("th"))
    assert all(table.get("aria-label") for table in seen.all("table"))
    ids = {attributes.get("id") for _, attributes in seen.found}
    inner = [a["href"] for a in seen.all("a") if (a["href"] or "").startswith("#")]
    assert inner == ["#main"] and "main" in ids
    assert all(i.get("alt") for i in seen.all("img"))
    assert seen.all("html")[0]["lang"] == "en"
    icon = next(link for link in seen.all("link") if link["rel"] == "icon")
    assert (icon["href"] or "").startswith("data:image/svg+xml,")


def test_the_headline_heads_page_and_title(page: str, place: Path) -> None:
    heading = re.search(r"<h1>(.*?)</h1>", page)
    assert heading is not None and "ollapsed on train" in heading[1]
    assert f"<title>{heading[1]} · " in page
    value = nc.Measurement.load(place)["train"]["head"]["class_share"]
    assert f"<b>{100 * value.best:.1f} %</b> class share of variance on train" in page


def test_the_numbers_behind_every_figure_can_be_taken_away(page: str, place: Path) -> None:
    links = {a["download"]: a["href"] or "" for a in Seen(page).all("a") if "download" in a}
    assert set(links) == {"readings.csv", "cosines.csv", "classes.csv", "training.csv"}
    tables = {}
    for name, link in links.items():
        head, _, text = link.partition(",")
        assert head == "data:text/csv;charset=utf-8"
        tables[name] = list(csv.DictReader(io.StringIO(unquote(text))))
    run = Run.read(place)
    reading = run.document.results["train"]["head"]["class_share"]
    row = next(
        r for r in tables["readings.csv"] if (r["split"], r["key"]) == ("train", "class_share")
    )
    assert float(row["value"]) == pytest.approx(reading.value, rel=1e-5)
    assert len(tables["classes.csv"]) == 5 and len(tables["cosines.csv"]) == 15
    unit = gram.units(run.geometry["means"])
    pair = next(r for r in tables["cosines.csv"] if (r["first"], r["second"]) == ("1", "0"))
    assert float(pair["cosine"]) == pytest.approx(float(unit[1] @ unit[0]), abs=1e-5)
    assert {r["key"] for r in tables["training.csv"]} >= {"class_share", "nc2_etf_means"}


def test_data_too_large_for_the_page_is_left_out(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ncollapse.report import html

    whole = render_page(Run.read(place))
    monkeypatch.setattr(html, "LARGEST", len(whole.encode()) - 1)
    less = render_page(Run.read(place))
    assert "data:text/csv" not in less and "What to do next" in less


def test_a_thousand_classes_fit(tmp_path: Path) -> None:
    path = folder(tmp_path, classes=1000, per_class=6, dim=32, trace=False, comparators=False)
    text = render_page(Run.read(path))
    assert len(text.encode()) <= LARGEST
    assert text.count('<th scope="row">') >= 1000 and "All 1000 classes, loosest first" in text
    assert '<table class="texts1 sortable" aria-label="Classes">' in text


def test_what_to_do_is_said_of_the_model(page: str, place: Path) -> None:
    document = Run.read(place).document
    found = actions(document)
    assert found is not None and len(found.rows) == 5
    for goal, what, why in found.first:
        assert f"<b>{goal}:</b> {what}." in page.replace("&#39;", "'") and why
        advice = nc.Measurement.load(place).advise(found.rows[0][0])
        assert advice.measured == found.rows[0][2]
    assert actions(replace(document, results={})) is None


def ended(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_open_opens_the_page(
    rng: np.random.Generator, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    target = tmp_path / "page.html"
    assert ended("report", place, "-o", target, "--open") == 0
    assert opened == [target.resolve().as_uri()]
    features = tmp_path / "features.npz"
    labels = np.arange(60) % 3
    np.savez(features, features=np.eye(3)[labels] + 0.1 * rng.normal(size=(60, 3)), labels=labels)
    assert ended("measure", features, "-o", tmp_path / "out", "--open", "-q") == 0
    assert opened[1:] == [(tmp_path / "out" / "report.html").resolve().as_uri()]
    assert ended("measure", features, "--open", "-q") == 2
    nc.Measurement.load(place).save_html(target)
    assert len(opened) == 2


def test_the_strip_gives_half_of_its_axis_to_the_first_factor_of_ten() -> None:
    assert scale(0.0) == TICKS["noise"] == 0 and scale(1.0) == TICKS["10×"] == 0.5
    places = [scale(d) for d in np.linspace(-2, 12, 200)]
    assert all(a < b for a, b in pairwise(places)) and places[-1] < 1
    # A reading at .8 of noise stands well off the tick of noise: some 15 of 200 pixels.
    assert scale(math.log10(1 / 0.8)) * 200 > 15


def images(means: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    kept: list[Figure] = []
    original = gram.to_svg
    monkeypatch.setattr(
        gram, "to_svg", lambda figure, *rest: kept.append(figure) or original(figure, *rest)
    )
    gram.gram_map(means, "said")
    return [np.asarray(axes.images[0].get_array()) for axes in kept[0].axes if axes.images]


@pytest.mark.parametrize("classes", [300, 1000])
def test_many_classes_on_a_simplex_have_no_texture(
    classes: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    means = simplex(classes, classes) + 1e-3 * rng.normal(size=(classes, classes))
    for image in images(means, monkeypatch):
        assert image.shape == (gram.BLOCKS, gram.BLOCKS, 4)
        assert image[..., 3].max() < 0.1, "rounding or sampling noise shows as a pattern"


def test_groups_among_many_classes_are_seen_whatever_their_order(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = rng.permutation(np.repeat(np.arange(3), 100))
    means = 3 * np.eye(3, 64)[groups] + 0.1 * rng.normal(size=(300, 64))
    measured = images(means, monkeypatch)[0][..., 3]
    blocks = gram.BLOCKS // 3
    inside = np.kron(np.eye(3), np.ones((blocks, blocks))).astype(bool)
    assert measured[inside].min() > 0.9 > measured[~inside].max()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_every_colour_of_text_stands_out_in_light_in_dark_and_on_paper(page: str) -> None:
    palettes = [dict(re.findall(r"--(\w+): (#\w+);", part)) for part in page.split(":root {")[1:4]]
    assert len(palettes) == 3
    for colours in palettes:
        for name in ("ink", "faint", "yes", "partly", "no", "open", "quiet"):
            for ground in ("page", "panel"):
                under = colours[ground] if len(colours[ground]) == 7 else "#ffffff"
                high, low = sorted((luminance(colours[name]), luminance(under)), reverse=True)
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground)
