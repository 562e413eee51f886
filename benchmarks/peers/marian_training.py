"""Time Marian's training; runs in an environment with pymarian, not in this project's.

python marian_training.py SETTINGS.json

Marian trains in a process of its own and says on stderr when an update is done: between the last
of the warm-up and the last that counts, the system tells how much CPU time that process took.
Prints as a line of JSON how many reference words and CPU-seconds the counted updates took.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

UPDATE = re.compile(r"Up\. (?P<update>\d+) .* Time (?P<seconds>[\d.]+)s : (?P<rate>[\d.]+) words/s")
"""What Marian says of an update: its number, its wall time and the target labels in a second."""


def arguments(settings: dict[str, Any], folder: Path) -> list[str]:
    """The model and training of the settings in Marian's words."""
    # Marian knows a SentencePiece model by the ending of its name.
    subwords = folder / "subwords.spm"
    shutil.copy(settings["subwords"], subwords)
    sides = [settings["source_language"], settings["target_language"]]
    chosen = {
        "type": "transformer",
        "model": folder / "model.npz",
        "train-sets": [f"{settings['train']}.{side}" for side in sides],
        "vocabs": [subwords, subwords],
        "max-length": settings["max_length"],
        "dim-emb": settings["dim"],
        "transformer-dim-ffn": settings["feedforward_dim"],
        "transformer-ffn-activation": "relu",
        "transformer-heads": settings["num_heads"],
        "enc-depth": settings["num_encoder_layers"],
        "dec-depth": settings["num_decoder_layers"],
        "transformer-preprocess": "n",
        "transformer-postprocess": "da",
        "transformer-postprocess-emb": "d",
        "transformer-postprocess-top": "n",
        "transformer-dropout": settings["dropout_rate"],
        "tied-embeddings-all": "true",
        "label-smoothing": settings["label_smoothing"],
        "cost-type": "ce-mean-words",
        "optimizer": "adam",
        "optimizer-params": [0.9, 0.98, 1e-9, settings["weight_decay"]],
        "learn-rate": settings["learning_rate"],
        "lr-warmup": settings["warmup_steps"],
        "lr-decay-inv-sqrt": settings["warmup_steps"],
        "exponential-smoothing": 1 - settings["average_momentum"],
        "mini-batch-words": settings["batch_tokens"],
        "cpu-threads": 1,
        "workspace": 2000,
        "seed": settings["seed"],
        "disp-freq": "1u",
        "save-freq": "1000000u",
        "after": f"{settings['warm_up'] + settings['steps'] + 5}u",
    }
    words = []
    for name, value in chosen.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def cpu_seconds(process: int) -> float:
    """CPU time that a process has taken, its threads counted."""
    after_name = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    user, system = after_name.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def words_per_label(settings: dict[str, Any]) -> float:
    """How many words stand in the target text for every label: subwords, and an end a line."""
    target = f"{settings['train']}.{settings['target_language']}"
    lines = Path(target).read_text(encoding="utf-8").splitlines()
    return sum(len(line.split()) for line in lines) / settings["target_labels"]


def main() -> None:
    """Train until the counted updates are done."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    first, last = settings["warm_up"], settings["warm_up"] + settings["steps"]
    labels, clock = 0.0, {}
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "pymarian", *arguments(settings, Path(name))]
        said: list[str] = []
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as marian:
            assert marian.stderr is not None
            for line in marian.stderr:
                said.append(line)
                found = UPDATE.search(line)
                if found is None:
                    continue
                update = int(found["update"])
                if first < update <= last:
                    labels += float(found["seconds"]) * float(found["rate"])
                if update in (first, last):
                    clock[update] = cpu_seconds(marian.pid)
                if update == last:
                    marian.kill()
    if last not in clock:
        raise SystemExit(f"Marian ended before update {last}: {said[-1] if said else 'silent'}")
    count = labels * words_per_label(settings)
    print(json.dumps({"count": count, "cpu_seconds": clock[last] - clock[first]}))


if __name__ == "__main__":
    main()
