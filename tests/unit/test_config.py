import itertools
import math
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catseye.errors import UnknownName, UsageError
from catseye.settings.merge import load_settings, read_settings, recipe_names, to_toml
from catseye.settings.schema import Settings, inert_options


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_changes_something(name):
    settings = load_settings(name)
    assert settings.recipe == name
    assert settings != Settings(recipe=name)


def test_classic_holds_the_numbers_of_the_source_article():
    settings = load_settings("classic")
    training, augment = settings.training, settings.augment
    assert (training.optimizer, training.momentum, training.nesterov) == ("sgd", 0.9, False)
    assert (training.schedule, training.lr, training.weight_decay) == ("onecycle", 0.1, 1e-4)
    assert (training.batch_size, training.epochs) == (128, 50)
    assert (augment.hflip, augment.crop_padding_px, augment.brightness, augment.contrast) == (0.5, 4, 0.2, 0.2)
    assert (settings.model.name, settings.model.dropout) == ("residual", 0.3)


def test_override_order(tmp_path):
    config = write(tmp_path / "mine.toml", "[training]\nepochs = 2\nbatch_size = 2\nlr = 0.2\n")
    settings = load_settings(
        "quick",
        config=config,
        values={"training.batch_size": 3, "training.lr": 0.3},
        overrides=["training.lr=0.4"],
    )
    training = settings.training
    assert (training.epochs, training.batch_size, training.lr) == (2, 3, 0.4)
    assert training.label_smoothing == load_settings("quick").training.label_smoothing


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("training.lr=5e-3", "lr", 5e-3),
        ("training.nesterov=false", "nesterov", False),
        ("training.schedule=cosine", "schedule", "cosine"),
        (" training.epochs = 7 ", "epochs", 7),
    ],
)
def test_an_override_is_read_as_toml_or_as_bare_text(override, key, expected):
    assert getattr(load_settings("quick", overrides=[override]).training, key) == expected


def test_an_override_may_contain_an_equals_sign():
    assert load_settings("quick", overrides=["model.name=a=b"]).model.name == "a=b"


def test_a_recipe_may_be_a_file(tmp_path):
    recipe = write(tmp_path / "own.toml", "[training]\nepochs = 3\n")
    assert load_settings(str(recipe)).training.epochs == 3


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("training.epoch=5", "training.epochs"),
        ("trainig.lr=5", "training.lr"),
        ("lr=1", "training.lr"),
        ("sed=1", "seed"),
        ("training.lr.x=1", "training.lr"),
    ],
)
def test_an_unknown_key_suggests_the_nearest(override, nearest):
    with pytest.raises(UnknownName) as caught:
        load_settings("quick", overrides=[override])
    assert override.partition("=")[0] in str(caught.value)
    assert nearest in str(caught.value)


def test_an_unknown_key_in_a_file_names_the_file(tmp_path):
    config = write(tmp_path / "mine.toml", "[data]\nresizee = 'pad'\n")
    with pytest.raises(UnknownName, match=r"did you mean data\.resize") as caught:
        load_settings("quick", config=config)
    assert str(config) in str(caught.value)


def test_an_unknown_recipe_is_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match="did you mean quick"):
        load_settings("quik")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.lr=nan", "training.lr"),
        ("training.lr=inf", "training.lr"),
        ("training.lr=0", "training.lr"),
        ("training.lr=-1", "training.lr"),
        ("training.lr=big", "training.lr"),
        ("training.batch_size=0", "training.batch_size"),
        ("training.batch_size=1000000000", "training.batch_size"),
        ("training.batch_size=1.5", "training.batch_size"),
        ("training.epochs=0", "training.epochs"),
        ("training.epochs=", "training.epochs"),
        ("training.optimizer=rmsprop", "training.optimizer"),
        ("training.label_smoothing=1", "training.label_smoothing"),
        ("data.val_fraction=0.6", "data.val_fraction"),
        ("data.channels=300", "data.channels"),
        ("data.input_px=wide", "data.input_px"),
        ("data.input_px=0", "data.input_px"),
        ("data.workers=-1", "data.workers"),
        ("augment.hflip=2", "augment.hflip"),
        ("seed=-1", "seed"),
        ("seed=99999999999", "seed"),
    ],
)
def test_a_value_out_of_range_names_its_key(override, key):
    with pytest.raises(UsageError) as caught:
        load_settings("quick", overrides=[override])
    assert str(caught.value).startswith(f"{key}:")


@pytest.mark.parametrize("overrides", [["training=5"], ["training=5", "training.lr=1"], ["seed.lr=1"], ["=1"]])
def test_a_table_is_no_setting(overrides):
    with pytest.raises(UsageError):
        load_settings("quick", overrides=overrides)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_a_number_is_refused_from_python_too(value):
    with pytest.raises(UsageError, match=r"^training\.lr:"):
        load_settings("quick", values={"training.lr": value})


def test_an_override_without_a_value_is_refused():
    with pytest.raises(UsageError, match="KEY=VALUE"):
        load_settings("quick", overrides=["training.epochs"])


@pytest.mark.parametrize(
    ("key", "value", "others"),
    [
        ("training.momentum", 0.9, {"training.optimizer": "adam"}),
        ("training.nesterov", True, {"training.optimizer": "adamw"}),
        ("training.cycle_momentum", True, {"training.optimizer": "adam"}),
        ("training.nesterov", True, {"training.momentum": 0.0}),
        ("training.cycle_momentum", True, {"training.momentum": 0.0}),
        ("training.warmup_epochs", 1.0, {}),
        ("training.warmup_epochs", 1.0, {"training.schedule": "step"}),
        ("training.step_epochs", 3, {}),
        ("training.step_gamma", 0.5, {"training.schedule": "cosine"}),
        ("training.cycle_momentum", True, {"training.schedule": "constant"}),
        ("augment.saturation", 0.2, {"data.channels": 1}),
        ("data.workers", 2, {"data.storage": "memory"}),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(key, value, others):
    with pytest.raises(UsageError, match="would do nothing") as caught:
        load_settings("quick", values={key: value, **others})
    assert str(caught.value).startswith(key)


@pytest.mark.parametrize(
    ("key", "value", "others"),
    [
        ("training.warmup_epochs", 1.0, {"training.schedule": "cosine"}),
        ("training.step_gamma", 0.5, {"training.schedule": "step"}),
        ("training.cycle_momentum", True, {}),
        ("data.workers", 2, {"data.storage": "stream"}),
        ("augment.saturation", 0.2, {"data.channels": 3}),
    ],
)
def test_the_same_options_are_kept_where_they_work(key, value, others):
    group, _, name = key.partition(".")
    settings = load_settings("quick", values={key: value, **others})
    assert getattr(getattr(settings, group), name) == value


def test_what_the_recipe_set_and_the_user_made_idle_is_dropped():
    settings = load_settings("quick", overrides=["training.optimizer=adam"])
    assert load_settings("quick").training.nesterov is True
    assert settings.training.nesterov is False
    assert load_settings("quick", overrides=["training.momentum=0.0"]).training.nesterov is False
    settings = load_settings("classic", overrides=["training.schedule=constant"])
    assert settings.training.cycle_momentum is False
    assert not [key for key in inert_options(settings) if _differs_from_default(settings, key)]


def _differs_from_default(settings: Settings, key: str) -> bool:
    group, _, name = key.partition(".")
    return getattr(getattr(settings, group), name) != getattr(getattr(Settings(), group), name)


@pytest.mark.parametrize("name", recipe_names())
def test_settings_survive_the_run_folder(name, tmp_path):
    settings = load_settings(name, overrides=["model.dropout=0.25", "training.lr=1e-7"])
    assert read_settings(write(tmp_path / "settings.toml", to_toml(settings))) == settings


@given(st.text(max_size=40))
def test_any_text_survives_the_run_folder(text):
    settings = Settings(recipe=text, model={"name": text})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.toml"
        path.write_bytes(to_toml(settings).encode())
        assert read_settings(path) == settings


@pytest.mark.parametrize("content", [b"[training", b"\xff\xfe", b"a = 1\na = 2\n", b"x = " + b"[" * 10_000])
def test_a_file_that_is_no_toml_is_named(content, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not valid TOML") as caught:
        load_settings("quick", config=path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_too_large_or_missing_is_named(tmp_path):
    path = write(tmp_path / "mine.toml", "#" * 1_000_001)
    with pytest.raises(UsageError, match="at most 1,000,000 bytes"):
        load_settings("quick", config=path)
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        load_settings("quick", config=tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings("quick", config=tmp_path)


LAUGHS = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")
)
BOMBS = {
    "aliases, which TOML has not": LAUGHS,
    "lists in lists": "[training]\nlr = " + "[" * 400_000 + "]" * 400_000,
    "tables in tables": "[training]\nlr = " + "{a=" * 150_000 + "1" + "}" * 150_000,
    "a key of many parts": "a." * 400_000 + "a = 1",
    "a table of many parts": "[" + "a." * 400_000 + "a]",
    "a key of many quoted parts": "[training]\nlr = {" + "'a' . " * 100_000 + "a = 1}",
    "a word without end": "a" * 900_000,
    "a quote without end": "[training]\n" + "'" * 900_000,
    "many keys": "[training]\n" + "".join(f"k{number} = 1\n" for number in range(10_000)),
    "a number of many digits": "[training]\nlr = " + "9" * 900_000,
    "more than a megabyte": "[training]\nepochs = 1\n" + "# no bomb, only long\n" * 50_000,
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=list(BOMBS))
def test_51_a_settings_file_expands_to_nothing(content, tmp_path):
    """Whatever stands in a megabyte: one sentence that names the file or the key, soon, and little memory."""
    path = write(tmp_path / "mine.toml", content)
    begun = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(UsageError) as caught:
            load_settings("quick", config=path)
        assert tracemalloc.get_traced_memory()[1] < 300_000_000
    finally:
        tracemalloc.stop()
    assert time.process_time() - begun < 20
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("key", ["a." * 40 + "a", "'a' . " * 40 + "a", '"a.b".' * 40 + "a"])
def test_51_a_key_of_many_parts_is_refused_before_it_is_parsed(key, tmp_path):
    """Python's reader takes a time that grows with the square of the parts: minutes for a megabyte."""
    for text in (f"{key} = 1", f"[{key}]", f"[training]\nlr = {{{key} = 1}}"):
        with pytest.raises(UsageError, match="a key of more than 32 parts"):
            load_settings("quick", config=write(tmp_path / "mine.toml", text))
    load_settings("quick", config=write(tmp_path / "mine.toml", "# " + "." * 200 + "\n[training]\nepochs = 2\n"))


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000, "a." * 100_000])
def test_51_nothing_behind_set_expands_either(text):
    with pytest.raises(UsageError, match=r"training\.lr"):
        load_settings("quick", overrides=[f"training.lr={text}"])


def test_a_settings_file_as_0_1_wrote_it_is_read(tmp_path):
    """It was written by code of our own then, with JSON's strings and a blank line before every table."""
    old = 'recipe = "quick"\nseed = 3\n\n[data]\nresize = "pad"\ngroup_by = "a\\"\\\\b \\u007f\\t"\n'
    old += "\n[training]\nlr = 1e-07\n"
    found = read_settings(write(tmp_path / "settings.toml", old))
    assert (found.seed, found.data.group_by, found.training.lr) == (3, 'a"\\b \x7f\t', 1e-7)
    assert read_settings(write(tmp_path / "again.toml", to_toml(found))) == found


@pytest.mark.parametrize(
    "line", ["model = 1.5", "model = 'lenet5'", "training = [1]", "data = true", "augment = 2026-01-01"]
)
def test_a_group_of_settings_that_is_no_table_is_named(line, tmp_path):
    path = write(tmp_path / "mine.toml", line)
    with pytest.raises(UsageError, match=rf"{line.split()[0]}.* is a table of settings.*\[{line.split()[0]}\]"):
        load_settings("quick", config=path)
