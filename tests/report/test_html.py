"""The page: whole, small, self-contained, escaped, and the same every time."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from ncollapse.record.document import SCHEMA_VERSION
from ncollapse.record.frames import Frames
from ncollapse.record.readings import ANSWERS, Number, Verdict
from ncollapse.record.run import Run
from ncollapse.report import words
from ncollapse.report.film.animation import write_gif
from ncollapse.report.html import LARGEST, render_page, write_report
from ncollapse.report.plots.gram import block_cosines, gram_map, units
from tests.report.runs import folder, frames

HOSTILE = "<script>alert('x')</script>$\\frac{&\"]]>"
BANNED = ("good collapse", "bad collapse", "healthy", "will generalise", "will generalize")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = folder(tmp_path_factory.mktemp("run"))
    frames(path / "frames.safetensors")
    write_gif(Frames.read(path / "frames.safetensors"), path / "film.gif", count=4, width=240)
    return path


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return render_page(Run.read(run))


def test_every_section_is_there(page: str) -> None:
    for title in ("What this means", "What to do next", "What we could not tell", "Details"):
        assert f"<h2>{title}</h2>" in page
    for title in ("How far from noise", "Class means", "Classes", "Training"):
        assert title in page
    assert "<b>Illustration, not evidence.</b>" in page
    assert page.count('<svg class="figure"') == 6
    assert "terminal phase from epoch 4" in page
    assert page.count("<pre>") <= 3
    for word in BANNED:
        assert word not in page.lower()


def test_the_page_needs_no_network_and_one_script_of_its_own(page: str) -> None:
    assert "http:" not in page and "https:" not in page
    # One script of the page's own sorts tables; nothing is hidden without it.
    assert page.count("<script") == 1 and "<script>\nfor (const table of" in page
    assert "javascript:" not in page and "onclick" not in page
    assert "@import" not in page and "xlink" not in page
    for place in re.findall(r'(?:src|srcset|href)="([^"]{0,20})', page):
        assert place.startswith(("data:image/", "data:text/csv", "#")), place
    assert "prefers-reduced-motion" in page and "data:image/gif" in page
    assert len(page.encode()) <= LARGEST


def test_ids_are_unique_and_all_references_lead_somewhere(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)
    assert not re.search(r"#0101[01][0-9a-f]\b", page), "a sentinel colour was left"


def test_alt_texts_are_verdict_sentences(run: Path, page: str) -> None:
    document = Run.read(run).document
    sentences = {verdict.sentence for verdict in document.verdicts}
    labels = [html.unescape(t) for t in re.findall(r'role="img" aria-label="([^"]*)"', page)]
    assert len(labels) == 6
    assert set(labels) <= sentences
    assert labels[0] == words.sentence(document, "collapsed:train")
    assert labels[1] == words.sentence(document, "frame")


def test_the_same_run_gives_the_same_bytes(run: Path, page: str, tmp_path: Path) -> None:
    written = write_report(run, tmp_path / "deep" / "page.html")
    assert written.read_text(encoding="utf-8") == page
    assert [p.name for p in written.parent.iterdir()] == ["page.html"]


def test_the_users_matplotlib_neither_changes_nor_matters(run: Path) -> None:
    found = replace(Run.read(run), frames=None)
    plain = render_page(found)
    with matplotlib.rc_context({"font.size": 31, "axes.grid": True, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert render_page(found) == plain
        assert dict(matplotlib.rcParams) == before


def test_hostile_names_are_text(tmp_path: Path) -> None:
    names = [HOSTILE, "b\nc\x00", "漢字", "", "e" * 300]
    path = folder(tmp_path / "run", names=names)
    frames(path / "frames.safetensors", names=[HOSTILE, "b", "c", "d"])
    found = Run.read(path)
    config = {**found.document.config, "head": HOSTILE}
    document = replace(found.document, source=HOSTILE, config=config, warnings=(HOSTILE,))
    text = render_page(replace(found, document=document, path=Path(HOSTILE)))
    assert text.count("<script") == 1 and "&lt;script&gt;" in text
    assert "\x00" not in re.sub(r"<td>.*?</td>", "", text, flags=re.S)


def test_all_five_states_are_shown(run: Path) -> None:
    found = replace(Run.read(run), frames=None)
    number = Number("class_share", "train", "head", 0.9)
    verdicts = tuple(Verdict(f"Question {a}?", a, f"Said of {a}.", (number,)) for a in ANSWERS)
    text = render_page(replace(found, document=replace(found.document, verdicts=verdicts)))
    for answer in ANSWERS:
        state = answer.replace(" ", "-")
        assert f'class="shape {state}"' in text
        assert f">{answer}</span>" in text
        assert f"Question {answer}?" in text
    assert "Said of cannot tell." in text and "Said of not measured." in text


@pytest.mark.parametrize("first", ANSWERS)
def test_there_are_three_sentences_whatever_the_answers(run: Path, first: str) -> None:
    document = Run.read(run).document
    verdicts = tuple(replace(v, answer=first) for v in document.verdicts)
    said = words.meaning(replace(document, verdicts=verdicts))
    assert len(said) == 3
    assert all(s.endswith(".") and not any(word in s.lower() for word in BANNED) for s in said)
    assert len(words.steps(document, None)) <= 3
    assert words.unknown(replace(document, verdicts=()))


def test_a_folder_of_results_alone_makes_a_page(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "results.json", tmp_path / "results.json")
    found = Run.read(tmp_path)
    assert (found.trace, found.frames, found.film) == (None, None, None)
    assert found.geometries == {} and found.classes == ()
    text = render_page(found)
    assert "geometry.safetensors" in text and "classes.csv" in text
    assert "The training film" not in text
    with pytest.raises(ValueError, match="does not exist"):
        Run.read(tmp_path / "nothing")


def test_a_newer_schema_is_refused(run: Path, tmp_path: Path) -> None:
    text = (run / "results.json").read_text(encoding="utf-8")
    newer = text.replace(f'"schema_version": "{SCHEMA_VERSION}"', '"schema_version": "2.0"')
    (tmp_path / "results.json").write_text(newer, encoding="utf-8")
    with pytest.raises(ValueError, match="newer than"):
        write_report(tmp_path)


@pytest.mark.parametrize(("classes", "dim"), [(2, 4), (60, 16), (1000, 32)])
def test_any_number_of_classes_stays_small(tmp_path: Path, classes: int, dim: int) -> None:
    few = classes < 10
    path = folder(tmp_path, classes=classes, per_class=6, dim=dim, trace=False, comparators=few)
    page = write_report(path / "results.json")
    assert page == path / "report.html"
    assert page.stat().st_size <= 700_000
    assert "Head against means" in page.read_text(encoding="utf-8")


def test_layers_take_the_place_of_training(run: Path) -> None:
    found = replace(Run.read(run), frames=None)
    results = {
        split: {"block1": layers["head"], "block2": layers["head"], **layers}
        for split, layers in found.document.results.items()
    }
    text = render_page(replace(found, document=replace(found.document, results=results)))
    assert ">block1</text>" in text
    assert "<summary>Layers (6)</summary>" in text


def test_a_prediction_takes_the_simplexs_place(run: Path) -> None:
    found = replace(Run.read(run), frames=None)
    means = np.eye(5)
    text = render_page(found, predicted=means)
    assert ">predicted</text>" in text and ">simplex</text>" not in text
    with pytest.raises(ValueError, match="same classes in the same order"):
        render_page(found, predicted=np.eye(4))


def test_a_film_too_large_for_the_page_is_left_out(run: Path) -> None:
    found = Run.read(run)
    assert found.film is not None
    text = render_page(replace(found, film=found.film + bytes(LARGEST)))
    assert "data:image/gif" not in text and "The training film" in text


def test_block_cosines_are_means_over_pairs(rng) -> None:
    unit = units(rng.normal(size=(7, 5)))
    sizes = np.array([3, 1, 3])
    found = block_cosines(unit, sizes)
    cosines = unit @ unit.T
    assert found[0, 2] == pytest.approx(cosines[:3, 4:].mean())
    assert found[1, 1] == pytest.approx(1.0)
    assert found[0, 0] == pytest.approx((cosines[:3, :3].sum() - 3) / 6)
    assert gram_map(np.ones((3, 4)), "said").startswith("<svg")


def test_a_browser_shows_it(page: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on PATH")
    from PIL import Image

    place, shot = tmp_path / "page.html", tmp_path / "shot.png"
    place.write_text(page, encoding="utf-8")
    subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--window-size=1200,800", f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={shot}", place.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    with Image.open(shot) as picture:
        assert picture.size == (1200, 800)
        colours = picture.convert("RGB").getcolors(1 << 20)
        assert colours is not None and len(colours) > 200
