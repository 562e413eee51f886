"""The average of the last epochs' weights."""

import keras
import numpy as np
import pytest

from attention_apps.running.averaging import LastWeights

X, Y = np.random.default_rng(0).normal(size=(2, 12, 3))


class Remember(keras.callbacks.Callback):
    """Keeps the raw weights and the averaged ones of every epoch."""

    def __init__(self, last):
        super().__init__()
        self.last, self.raw, self.averaged = last, [], []

    def on_epoch_end(self, epoch, logs=None):
        self.raw.append(self.model.get_weights())
        with self.last.averaged(self.model):
            self.averaged.append(self.model.get_weights())
        for before, after in zip(self.raw[-1], self.model.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)


def train(run_dir, *, num_epochs, initial_epoch=0, epochs=5, weights=None):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    if weights is not None:
        model.set_weights(weights)
    model.compile("sgd", "mse")
    last = LastWeights(run_dir, num_epochs)
    remember = Remember(last)
    model.fit(
        X,
        Y,
        shuffle=False,
        initial_epoch=initial_epoch,
        epochs=epochs,
        callbacks=[last, remember],
        verbose=0,
    )
    return remember


def test_it_is_the_mean_of_the_last_epochs(tmp_path):
    remember = train(tmp_path, num_epochs=3)
    for epoch, averaged in enumerate(remember.averaged):
        for i, values in enumerate(averaged):
            raw = [weights[i] for weights in remember.raw[max(0, epoch - 2) : epoch + 1]]
            np.testing.assert_allclose(values, np.mean(raw, axis=0), rtol=1e-6)
    assert len(list((tmp_path / "last_weights").iterdir())) == 3


def test_a_resumed_run_averages_what_the_uninterrupted_one_would(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = train(tmp_path / "whole", num_epochs=3)
    # Epoch 3 was written, but the run goes on from the checkpoint of epoch 2.
    first = train(tmp_path / "killed", num_epochs=3, epochs=4)
    second = train(tmp_path / "killed", num_epochs=3, initial_epoch=3, weights=first.raw[2])
    for one, other in zip(whole.averaged[3:], second.averaged, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_no_epoch_at_all_cannot_be_averaged(tmp_path):
    with pytest.raises(ValueError, match=r"num_epochs must be at least 1\. Received: num_epochs=0"):
        LastWeights(tmp_path, 0)
