"""The weights that validation chose, averaged or not."""

import math

import numpy as np
import pytest


def weights(model):
    return [variable.numpy() for variable in model.trainable_variables]


def same_bits(left, right):
    return [value.tobytes() for value in left] == [value.tobytes() for value in right]


@pytest.fixture
def linear():
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.75), "mse")
    return model


def step(model, number):
    x = np.random.default_rng(number).normal(size=(8, 3)).astype("float32")
    model.train_on_batch(x, x.sum(1, keepdims=True))
    return weights(model)


def test_averages_are_those_of_the_formula(linear):
    from attention_apps.running.averaging import averaged_weights

    expected = None
    for number in range(4):
        raw = step(linear, number)
        if expected is None:
            expected = raw
        else:
            expected = [0.75 * old + 0.25 * new for old, new in zip(expected, raw, strict=True)]
    with averaged_weights(linear):
        for value, wanted in zip(weights(linear), expected, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-5)
        assert not same_bits(weights(linear), raw)
    assert same_bits(weights(linear), raw)


def test_raw_weights_come_back_after_an_error_too(linear):
    from attention_apps.running.averaging import averaged_weights

    step(linear, 0)
    raw = step(linear, 1)

    def fails():
        with averaged_weights(linear):
            assert not same_bits(weights(linear), raw)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert same_bits(weights(linear), raw)


def test_before_the_first_step_raw_weights_stay(linear):
    from attention_apps.running.averaging import averaged_weights

    raw = weights(linear)
    with averaged_weights(linear):
        assert same_bits(weights(linear), raw)


def test_averages_inside_a_loss_scaling_optimizer():
    import keras

    from attention_apps.running.averaging import averaged_weights

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    inner = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    first, second = step(model, 0), step(model, 1)
    with averaged_weights(model):
        np.testing.assert_allclose(weights(model)[0], (first[0] + second[0]) / 2, rtol=1e-5)
    assert same_bits(weights(model), second)


def test_without_averages_there_is_an_error(linear):
    from attention_apps.running.averaging import averaged_weights

    linear.compile("sgd", "mse")
    with pytest.raises(ValueError, match="use_ema=True"), averaged_weights(linear):
        pass


def epochs(model, run_dir, figures, **options):
    """Tell a BestModel of one figure an epoch; return it and the epochs model.keras was of."""
    import keras

    from attention_apps.running.best_model import BestModel

    best = BestModel(run_dir, monitor="figure", **options)
    best.set_model(model)
    model.stop_training = False
    told = []
    for epoch, figure in enumerate(figures):
        model.trainable_variables[1].assign([float(epoch)])
        best.on_epoch_end(epoch, {"loss": 0.0} if figure is None else {"figure": figure})
        told.append(None)
        if (run_dir / "model.keras").exists():
            saved = keras.saving.load_model(run_dir / "model.keras", compile=False)
            told[-1] = saved.get_weights()[1].item()
        if model.stop_training:
            break
    return best, told


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("figures", "options", "kept"),
    [
        ([3.0, 2.0, 2.0, 4.0, 1.0], {}, [0, 1, 1, 1, 4]),
        ([3.0, 2.0, 2.0, 4.0, 1.0], {"mode": "max"}, [0, 0, 0, 3, 3]),
        ([NAN, 2.0, NAN, -INF, 1.0], {}, [None, 1, 1, 1, 4]),
        ([3.0, 4.0, 2.0, 2.0, 2.0, 1.0], {"patience": 2}, [0, 0, 2, 2, 2]),
        ([3.0, 3.0], {"patience": 1}, [0, 0]),
        ([None, 3.0, None, None, 2.0], {"patience": 1}, [None, 1, 1, 1, 4]),
        ([3.0, 4.0, 4.0, 4.0, 4.0, 1.0], {"patience": 2, "start_from_epoch": 3}, [0] * 5),
        ([3.0, 4.0, None, 4.0, 4.0, 1.0], {"patience": 2, "start_from_epoch": 2}, [0] * 5),
    ],
)
def test_keeps_the_best_and_stops_in_time(figures, options, kept, linear, tmp_path):
    best, told = epochs(linear, tmp_path, figures, **options)
    assert told == kept
    assert best.best_epoch == kept[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_state_goes_on_where_it_was(linear, tmp_path):
    """Two epochs of waiting before and after a resume are four."""
    best, _ = epochs(linear, tmp_path, [1.0, 2.0, 2.0], patience=4)
    from attention_apps.running.best_model import BestModel

    resumed = BestModel(tmp_path, monitor="figure", patience=4)
    resumed.set_model(linear)
    resumed.set_state(best.get_state())
    resumed.on_epoch_end(3, {"figure": 1.5})
    assert not linear.stop_training
    resumed.on_epoch_end(4, {"figure": 1.0})
    assert linear.stop_training
    assert (resumed.best, resumed.best_epoch) == (1.0, 0)


def test_what_is_saved_is_what_was_validated(tiny, tmp_path):
    """model.keras scores the figure it was chosen by: the averaged weights, not the raw ones."""
    import keras

    config = tiny.Config(epochs=3)
    run_dir, model, history = tiny.train(config, runs_dir=tmp_path)
    best = min(logs["val_loss"] for logs in history)
    saved = keras.saving.load_model(run_dir / "model.keras", compile=False)
    saved.compile(loss="mse")
    assert saved.evaluate(tiny.batches(config, 10_000).take(2), verbose=0) == best
    assert "adam" not in " ".join(variable.path for variable in saved.variables)
    assert model.optimizer is not None


def test_figures_that_are_no_numbers_are_no_mistake_of_the_code(linear, tmp_path):
    best, told = epochs(linear, tmp_path, [NAN, INF])
    best.on_train_end()
    assert told == [None, None]
    best.on_epoch_end(2, {"figure": 0.0, "loss": NAN})
    assert best.best is None
    never, _ = epochs(linear, tmp_path, [None, None])
    with pytest.raises(ValueError, match="no epoch had a figure"):
        never.on_train_end()


def test_mistakes(tmp_path):
    from attention_apps.running.best_model import BestModel

    with pytest.raises(ValueError, match="mode=most"):
        BestModel(tmp_path, mode="most")
    with pytest.raises(ValueError, match="patience=0"):
        BestModel(tmp_path, patience=0)
