"""Precedence, origins, and every way in which a file or a variable can be wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanochat.config import load, sections
from nanochat.config.base import GlobalConfig
from nanochat.config.fields import REQUIRED, option
from nanochat.config.load import Origin, Preset, Settings, build, resolve
from nanochat.errors import StorageError, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    depth: int = option(12, "Layers.")
    max_chars: int = option(1000, "Text.", parse="count")
    out: str | None = option(None, "Folder.", parse="path")
    eps: float = 1e-10

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise UsageError(f"depth ({self.depth}) must be at least 1", "try --depth 4")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    model: str = option(REQUIRED, "Which.")


@pytest.fixture(autouse=True)
def _sections(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {sections.GLOBAL: "nanochat.config.base:GlobalConfig"}
    table |= {"train.base": "x:Train", "train.mid": "x:Train", "chat": "x:Chat"}
    monkeypatch.setattr(sections, "SECTIONS", table)
    monkeypatch.setattr(load, "SECTIONS", table)


Read = Callable[..., Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Settings from the text of the project's file, of the user's, and variables."""

    def read(project: str | None = None, user: str | None = None, **environ: str) -> Settings:
        work, home = tmp_path / "work", tmp_path / "home"
        for path, text in ((work / "nanochat.toml", project), (home / "config.toml", user)):
            path.parent.mkdir(exist_ok=True)
            if text is not None:
                path.write_text(text)
        return Settings.read(work, environ, user_file=home / "config.toml")

    return read


def test_nothing_set_gives_defaults(read: Read) -> None:
    resolved = build(Train, "train.base", {}, read())
    assert resolved.value == Train()
    assert set(resolved.origins.values()) == {Origin("default")}


def test_each_source_wins_over_those_after_it(read: Read, tmp_path: Path) -> None:
    preset = Preset("pocket", {"depth": 2})
    user, project = "[train.base]\ndepth = 3", "[train.base]\ndepth = 4"

    def depth(settings: Settings, **flags: int) -> tuple[int, str]:
        resolved = build(Train, "train.base", flags, settings, preset=preset)
        return resolved.value.depth, str(resolved.origins["depth"])

    assert depth(read()) == (2, "preset pocket")
    assert depth(read(user=user)) == (3, str(tmp_path / "home" / "config.toml"))
    assert depth(read(project, user)) == (4, str(tmp_path / "work" / "nanochat.toml"))
    variable = {"NANOCHAT_TRAIN_BASE_DEPTH": "5"}
    assert depth(read(project, user, **variable)) == (5, "NANOCHAT_TRAIN_BASE_DEPTH")
    assert depth(read(project, user, **variable), depth=6) == (6, "--depth")


def test_sections_do_not_touch_each_other(read: Read) -> None:
    settings = read("base_dir = '/top'\n[train.base]\ndepth = 4\n[train.mid]\ndepth = 5")
    assert build(Train, "train.base", {}, settings).value.depth == 4
    assert build(Train, "train.mid", {}, settings).value.depth == 5
    assert build(GlobalConfig, "global", {}, settings).value.base_dir == "/top"


def test_fields_without_flag_can_be_set(read: Read) -> None:
    assert build(Train, "train.base", {}, read("[train.base]\neps = 1")).value.eps == 1.0


def test_counts_in_files_and_variables(read: Read) -> None:
    assert build(Train, "train.base", {}, read("[train.base]\nmax_chars = '2M'")).value.max_chars == 2_000_000
    settings = read(NANOCHAT_TRAIN_BASE_MAX_CHARS="3K")
    assert build(Train, "train.base", {}, settings).value.max_chars == 3000


def test_a_path_in_a_file_is_relative_to_the_file(read: Read, tmp_path: Path) -> None:
    settings = read(user="[train.base]\nout = 'models'")
    assert build(Train, "train.base", {}, settings).value.out == str(tmp_path / "home" / "models")


def test_an_empty_variable_is_not_set(read: Read) -> None:
    assert build(Train, "train.base", {}, read(NANOCHAT_TRAIN_BASE_DEPTH="")).value.depth == 12


def test_variables_of_no_section_are_left_alone(read: Read) -> None:
    settings = read(NANOCHAT_TEST_DATA="/data", PATH="/bin", NANOCHATTER="1")
    assert build(GlobalConfig, "global", {}, settings).value.base_dir is None
    assert build(Train, "train.base", {}, settings).value == Train()


@pytest.mark.parametrize(
    ("project", "said", "hint"),
    [
        (
            "[train.base]\ndepht = 6",
            r"nanochat\.toml: unknown key train\.base\.depht; did you mean depth\?",
            "train.base",
        ),
        (
            "[train.bsae]\ndepth = 6",
            r"unknown table \[train\.bsae\]; did you mean \[train\.base\]\?",
            "config show",
        ),
        ("[chatt]", r"unknown table \[chatt\]; did you mean \[chat\]\?", "config show"),
        ("[global]\nbase_dir = 'x'", r"unknown table \[global\]", "above the first table"),
        ("[train]\ndepth = 6", r"\[train\] has no key 'depth' of its own", r"\[train.base\], \[train.mid\]"),
        ("[train.base.more]\nx = 1", r"unknown table \[train\.base\.more\]", "config show"),
        (
            "[train.base]\ndepth = 'six'",
            r"nanochat\.toml: train\.base\.depth: expected a whole number, found 'six'",
            "edit",
        ),
        ("[train.base]\ndepth = [6]", r"train\.base\.depth: expected a whole number, found a list", "edit"),
        ("[train.base\n", "is not valid TOML: .*line 1", "edit"),
    ],
)
def test_wrong_files(read: Read, project: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        build(Train, "train.base", {}, read(project))
    assert caught.match(said)
    assert __import__("re").search(hint, caught.value.hint)


def test_unknown_key_at_the_top(read: Read) -> None:
    with pytest.raises(UsageError, match=r"unknown key base_dri; did you mean base_dir\?"):
        build(GlobalConfig, "global", {}, read("base_dri = 'x'"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NANOCHAT_TRAIN_BASE_DEPHT", r"NANOCHAT_TRAIN_BASE_DEPHT; did you mean NANOCHAT_TRAIN_BASE_DEPTH\?"),
        ("NANOCHAT_TRAIN_BASE_SPELL", "unknown environment variable NANOCHAT_TRAIN_BASE_SPELL"),
        ("NANOCHAT_TRAIN_BSAE_DEPTH", r"unknown environment variable NANOCHAT_TRAIN_BSAE_DEPTH"),
    ],
)
def test_misspelt_variables(read: Read, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(Train, "train.base", {}, read(**{name: "6"}))


def test_misspelt_variable_of_the_top(read: Read) -> None:
    with pytest.raises(UsageError, match=r"NANOCHAT_BASEDIR; did you mean NANOCHAT_BASE_DIR\?"):
        build(GlobalConfig, "global", {}, read(NANOCHAT_BASEDIR="x"))


def test_wrong_value_of_a_variable(read: Read) -> None:
    with pytest.raises(UsageError, match="NANOCHAT_TRAIN_BASE_DEPTH: expected a whole number, found 'six'"):
        build(Train, "train.base", {}, read(NANOCHAT_TRAIN_BASE_DEPTH="six"))


def test_refused_values_name_the_file_they_came_from(read: Read) -> None:
    with pytest.raises(UsageError, match=r"depth \(0\) must be at least 1") as caught:
        build(Train, "train.base", {}, read("[train.base]\ndepth = 0"))
    assert caught.value.hint.startswith("try --depth 4; depth = 0 comes from ")
    assert caught.value.hint.endswith("nanochat.toml")
    with pytest.raises(UsageError) as from_flag:
        build(Train, "train.base", {"depth": 0}, read())
    assert from_flag.value.hint == "try --depth 4"


def test_a_required_value(read: Read) -> None:
    with pytest.raises(UsageError, match="model is not given") as caught:
        build(Chat, "chat", {}, read())
    assert caught.value.hint == "add --model"
    assert resolve(Chat, "chat", {}, read())[0] == {"model": REQUIRED}
    assert build(Chat, "chat", {"model": "d12"}, read()).value.model == "d12"


def test_a_file_that_is_not_text(read: Read, tmp_path: Path) -> None:
    read()
    (tmp_path / "work" / "nanochat.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        read()


def test_a_file_that_cannot_be_read(read: Read, tmp_path: Path) -> None:
    read()
    (tmp_path / "work" / "nanochat.toml").mkdir()
    with pytest.raises(StorageError, match=r"cannot read .*nanochat\.toml"):
        read()


def test_every_section_has_a_class_and_variables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    owners: dict[str, str] = {}
    for section in sections.SECTIONS:
        for spec in load.settings_of(sections.section_class(section)):
            name = load.variable(section, spec.name)
            assert owners.setdefault(name, section) == section, f"{name} means two settings"


class TestChosenFile:
    """`--config FILE`."""

    @pytest.mark.parametrize("text", ["depth = 7", "[train.base]\ndepth = 7\n[train.mid]\ndepth = 8"])
    def test_it_wins_over_all_but_flags(self, read: Read, tmp_path: Path, text: str) -> None:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        settings = read("[train.base]\nmax_chars = 5", NANOCHAT_TRAIN_BASE_DEPTH="5").with_file(path, "train.base")
        resolved = build(Train, "train.base", {}, settings)
        assert (resolved.value.depth, resolved.value.max_chars) == (7, 5)
        assert resolved.origins["depth"] == Origin("file", str(path))
        assert build(Train, "train.base", {"depth": 6}, settings).value.depth == 6

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("depht = 6", r"mine\.toml: unknown key train\.base\.depht; did you mean depth\?"),
            ("[train.base]\ndepht = 6", r"unknown key train\.base\.depht"),
            ("[train.bsae]\ndepth = 6", r"unknown table \[train\.bsae\]"),
            ("depth = 'six'", r"mine\.toml: train\.base\.depth: expected a whole number"),
            ("depth = 0", r"depth \(0\) must be at least 1"),
            ("depth = ", "is not valid TOML"),
        ],
    )
    def test_what_is_wrong_in_it_is_named(self, read: Read, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        with pytest.raises(UsageError, match=said):
            build(Train, "train.base", {}, read().with_file(path, "train.base"))

    def test_it_must_be_there(self, read: Read, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"there is no file .*mine\.toml"):
            read().with_file(tmp_path / "mine.toml", "train.base")

    def test_a_path_in_it_is_relative_to_it(self, read: Read, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text("out = 'models'")
        settings = read().with_file(tmp_path / "mine.toml", "train.base")
        assert build(Train, "train.base", {}, settings).value.out == str(tmp_path / "models")
