"""What every test may rely on: quiet logs, whole tracebacks, and randomness that starts anew."""

import os
import random
import sys

import numpy as np
import pytest

# Before the first import of TensorFlow, Keras or matplotlib, and stronger than ~/.keras/keras.json.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _same_start_for_every_test():
    """Seed all generators, so that no test depends on which tests ran before it.

    Keras is left alone where no test module imported it: importing it takes seconds.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (Keras and TensorFlow read the global generator)
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(0)
        keras.config.disable_traceback_filtering()


@pytest.fixture(scope="session")
def embedded_data(tmp_path_factory):
    """A folder in which the rooms' embedded data is prepared once for all tests."""
    return str(tmp_path_factory.mktemp("embedded"))
