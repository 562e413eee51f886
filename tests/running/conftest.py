import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("tiny_training.py")


@pytest.fixture(scope="session")
def tiny():
    """The tiny training as a module; what it needs of tensorflow it imports when it trains."""
    spec = importlib.util.spec_from_file_location("tiny_training", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
