"""The arrows of the house: rooms -> attention_apps -> keras and tensorflow, and no others."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.demo import ROOT, rooms

FLOORS = ("attention", "observation", "running")  # each may import those before it
ROOM_FILES = (
    "config.py",
    "synthetic.py",
    "data.py",
    "model.py",
    "attention_maps.py",
    "train.py",
    "baselines.py",
    "evaluate.py",
    "export.py",
    "predict.py",
    "README.md",
)
SHAPELESS = re.compile(r"_*(\w+_)?(utils?|helpers?|common|base|misc)")
TENSORFLOW = ("tensorflow", "tensorflow_text", "tensorflow_datasets", "tensorboard")
OTHER_BACKENDS = ("jax", "torch")
ONE_BACKEND = "tensorflow_graphs.py"
"""The one file of the first floor that knows a backend, imported where that computes."""
PRIVATE = ("keras.src", "tensorflow.python", "keras_hub.src")


def imports(path: Path, root: Path) -> Iterator[str]:
    """Full names of everything that a file imports, wherever in the file it does so."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            # importlib.import_module("name") and __import__("name")
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = getattr(node.args[0], "value", None)
            if called in ("import_module", "__import__") and isinstance(name, str):
                yield name


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def forbidden(path: Path, root: Path, all_rooms: list[str]) -> tuple[str, ...]:
    """What the file must not import, by where it lies."""
    top, *inner = path.relative_to(root).parts
    never = (*PRIVATE, "tests", "benchmarks")
    if top == "attention_apps":
        if inner[0] not in FLOORS:
            return (*all_rooms, *never)
        floor = FLOORS.index(inner[0])
        above = tuple(f"attention_apps.{name}" for name in FLOORS[floor + 1 :])
        knows_one = floor > 0 or inner[1:] == [ONE_BACKEND]
        backends = OTHER_BACKENDS if knows_one else (*TENSORFLOW, *OTHER_BACKENDS)
        return (*all_rooms, *above, *backends, *never)
    others = tuple(room for room in all_rooms if room != top)
    if inner == ["config.py"]:
        return (*others, *never, *TENSORFLOW, *OTHER_BACKENDS, "keras", "keras_hub", "keras_nlp")
    if inner == ["model.py"]:
        return (*others, *never, *TENSORFLOW, *OTHER_BACKENDS)
    return (*others, *never)


def violations(root: Path, all_rooms: list[str]) -> list[str]:
    """Every breach of the house's rules under `root`, one sentence each."""
    found = []
    for room in all_rooms:
        missing = [name for name in ROOM_FILES if not (root / room / name).is_file()]
        found += [f"{room} has no {name}" for name in missing]
    packages = ["attention_apps", *all_rooms]
    for folder in sorted(path.parent for path in root.glob("*/__init__.py")):
        if folder.name not in (*packages, "benchmarks"):
            found.append(f"{folder.name} is a package that pyproject.toml does not name")
    for path in sorted(path for package in packages for path in (root / package).rglob("*.py")):
        place = path.relative_to(root)
        for part in (*place.parts[:-1], place.stem):
            if SHAPELESS.fullmatch(part):
                found.append(f"{place} has a name that says nothing: {part}")
        in_floor = place.parts[0] == "attention_apps" and place.parts[1] in FLOORS
        floors = [f"attention_apps.{floor}" for floor in FLOORS]
        for name in imports(path, root):
            # The top level gathers all floors: to import it from a floor is to import upwards.
            top = in_floor and is_within(name, "attention_apps") and not is_within(name, *floors)
            if top or is_within(name, *forbidden(path, root, all_rooms)):
                found.append(f"{place} imports {name}")
    return found


def test_house_keeps_its_arrows():
    found = violations(ROOT, rooms())
    assert not found, "\n".join(found)


@pytest.fixture
def house(tmp_path):
    """A small house without a breach: three floors and two whole rooms."""
    files = {f"{room}/{name}": "" for room in ("east", "west") for name in ROOM_FILES}
    for package in ("attention_apps", "east", "west", *(f"attention_apps/{f}" for f in FLOORS)):
        files[f"{package}/__init__.py"] = ""
    files |= {
        "attention_apps/__init__.py": "from attention_apps.attention.masks import causal\n",
        "attention_apps/attention/masks.py": "import keras\nfrom keras import ops\n",
        "attention_apps/attention/layers.py": "from attention_apps.attention import masks\n",
        "attention_apps/attention/tensorflow_graphs.py": "import tensorflow as tf\n",
        "attention_apps/observation/observe.py": (
            "import tensorflow as tf\nfrom ..attention.masks import causal\n"
        ),
        "attention_apps/running/export.py": "from attention_apps.observation import observe\n",
        "east/config.py": "import dataclasses\n",
        "east/model.py": "import keras\nfrom attention_apps import causal\nfrom east import data\n",
        "east/train.py": "import tensorflow as tf\nfrom . import model\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_house_without_a_breach_passes(house):
    assert violations(house, ["east", "west"]) == []


@pytest.mark.parametrize(
    ("file", "text", "breach"),
    [
        ("attention_apps/attention/a.py", "import tensorflow", "tensorflow"),
        ("attention_apps/attention/a.py", "def f():\n  import tensorflow as tf", "tensorflow"),
        ("attention_apps/attention/a.py", "from tensorflow import math", "tensorflow.math"),
        ("attention_apps/attention/deep/tensorflow_graphs.py", "import tensorflow", "tensorflow"),
        ("attention_apps/attention/tensorflow_graphs.py", "import jax", "jax"),
        ("attention_apps/attention/a.py", "import jax.numpy", "jax.numpy"),
        ("attention_apps/attention/a.py", "from keras.src import ops", "keras.src.ops"),
        ("attention_apps/attention/a.py", "from keras import src", "keras.src"),
        (
            "attention_apps/attention/a.py",
            "from attention_apps.observation.observe import observe",
            "attention_apps.observation.observe.observe",
        ),
        (
            "attention_apps/attention/a.py",
            "from ..running import export",
            "attention_apps.running.export",
        ),
        (
            "attention_apps/observation/a.py",
            "from attention_apps import running",
            "attention_apps.running",
        ),
        (
            "attention_apps/observation/a.py",
            "import importlib\nimportlib.import_module('attention_apps.running.runs')",
            "attention_apps.running.runs",
        ),
        ("attention_apps/running/a.py", "from attention_apps import causal", "attention_apps.cau"),
        ("attention_apps/running/a.py", "from .. import causal", "attention_apps.causal"),
        ("attention_apps/running/a.py", "import attention_apps", "attention_apps"),
        ("attention_apps/running/a.py", "from east.config import Config", "east.config.Config"),
        ("attention_apps/__init__.py", "import west", "west"),
        ("attention_apps/running/a.py", "from tests import conftest", "tests.conftest"),
        ("east/a.py", "from west.data import load", "west.data.load"),
        ("east/deep/a.py", "from ...west import data", "west.data"),
        ("east/a.py", "import benchmarks.results", "benchmarks.results"),
        ("east/config.py", "import keras", "keras"),
        ("east/config.py", "def f():\n  from tensorflow import data", "tensorflow.data"),
        ("east/model.py", "import tensorflow as tf", "tensorflow"),
        ("west/model.py", "import torch", "torch"),
    ],
)
def test_planted_import_is_found(house, file, text, breach):
    (house / file).parent.mkdir(exist_ok=True)
    (house / file).write_text(text)
    found = violations(house, ["east", "west"])
    assert len(found) == 1
    assert found[0].startswith(f"{file} imports {breach}")


@pytest.mark.parametrize(
    "file",
    [
        "attention_apps/attention/utils.py",
        "attention_apps/helpers/a.py",
        "east/common.py",
        "east/data_utils.py",
        "west/_base.py",
    ],
)
def test_planted_name_is_found(house, file):
    (house / file).parent.mkdir(exist_ok=True)
    (house / file).write_text("")
    (found,) = violations(house, ["east", "west"])
    assert found.startswith(f"{file} has a name that says nothing")


@pytest.mark.parametrize("name", ROOM_FILES)
def test_missing_room_file_is_found(house, name):
    (house / "west" / name).unlink()
    assert violations(house, ["east", "west"]) == [f"west has no {name}"]


def test_room_that_pyproject_does_not_name_is_found(house):
    assert violations(house, ["east"]) == [
        "west is a package that pyproject.toml does not name",
    ]


@pytest.mark.parametrize("module", ["attention_apps", *(f"{room}.config" for room in rooms())])
def test_import_stays_light(module):
    """Flags and help answer within a second: nothing on the way there imports a framework."""
    program = (
        f"import sys, {module}\n"
        "print(*sorted({'tensorflow', 'keras', 'jax', 'matplotlib'} & sys.modules.keys()))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == []


def test_rooms_are_read_from_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        "[tool.hatch.build.targets.wheel]\npackages = ['attention_apps', 'east']\n"
    )
    assert rooms(tmp_path) == ["east"]
