"""What every test may rely on: quiet logs, whole tracebacks, and randomness that starts anew."""

import dataclasses
import fcntl
import gc
import importlib
import json
import os
import pathlib
import random
import sys

import numpy as np
import pytest

from attention_apps.running import flags

# Before the first import of TensorFlow, Keras or matplotlib, and stronger than ~/.keras/keras.json.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in commands


def pytest_collection_finish():
    """Leave what was imported out of every collection of garbage, which tracing causes many of."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, embedded_data):
    """Give a room's TINY run, trained, evaluated and exported once for all tests.

    Tests that run side by side share it: who comes first makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def finished(room):
        part = {
            name: importlib.import_module(f"{room}.{name}")
            for name in ("config", "train", "evaluate", "export")
        }
        done = shared / f"finished-{room}.json"
        with open(shared / f"finished-{room}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                config = dataclasses.replace(part["config"].TINY, data_dir=embedded_data)
                options = flags.RunOptions(runs_dir=shared / "runs")
                run_dir = part["train"].train(config, options)["run_dir"]
                part["evaluate"].evaluate(run_dir)
                part["export"].export(run_dir)
                done.write_text(json.dumps([embedded_data, str(run_dir)]))
        data_dir, run_dir = json.loads(done.read_text())
        return dataclasses.replace(part["config"].TINY, data_dir=data_dir), pathlib.Path(run_dir)

    return finished
