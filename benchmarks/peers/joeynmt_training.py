"""Time JoeyNMT's training; runs in JoeyNMT's own environment, not in this project's.

python joeynmt_training.py SETTINGS.json

Trains with JoeyNMT's own loop, and after the steps of warm-up prints how many reference words and
CPU-seconds the counted steps took, as a line of JSON.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from joeynmt import training


def config(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The model and training of the settings in JoeyNMT's words."""
    side = {
        "level": "bpe",
        "tokenizer_type": "sentencepiece",
        "tokenizer_cfg": {"model_file": settings["subwords"]},
        "voc_file": settings["vocabulary"],
        "max_length": settings["max_length"],
    }
    half = {
        "type": "transformer",
        "num_heads": settings["num_heads"],
        "embeddings": {"embedding_dim": settings["dim"], "scale": True, "dropout": 0.0},
        "hidden_size": settings["dim"],
        "ff_size": settings["feedforward_dim"],
        "dropout": settings["dropout_rate"],
        "layer_norm": "pre",
    }
    return {
        "name": "benchmark",
        "model_dir": str(folder),
        "use_cuda": False,
        "data": {
            "train": settings["train"],
            "dev": settings["train"],
            "sample_dev_subset": 10,
            "dataset_type": "plain",
            "src": {"lang": settings["source_language"], **side},
            "trg": {"lang": settings["target_language"], **side},
        },
        "training": {
            "optimizer": "adamw",
            "adam_betas": [0.9, 0.98],
            "scheduling": "warmupinversesquareroot",
            "learning_rate": settings["learning_rate"],
            "learning_rate_warmup": settings["warmup_steps"],
            "weight_decay": settings["weight_decay"],
            "label_smoothing": settings["label_smoothing"],
            "batch_size": settings["batch_tokens"],
            "batch_type": "token",
            "normalization": "tokens",
            "epochs": 1000,
            "validation_freq": 10**6,
            "logging_freq": 10**6,
        },
        "testing": {"beam_size": 1},
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": {**half, "num_layers": settings["num_encoder_layers"]},
            "decoder": {**half, "num_layers": settings["num_decoder_layers"]},
        },
    }


def main() -> None:
    """Train until the counted steps are done."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    first, last = settings["warm_up"], settings["warm_up"] + settings["steps"]
    seen: dict[str, Any] = {"steps": 0, "words": 0, "began": 0.0}
    train_step = training.TrainManager._train_step

    def timed(manager: Any, batch: Any) -> Any:
        if seen["steps"] == first:
            seen["began"] = time.process_time()
        if seen["steps"] == last:
            seconds = time.process_time() - seen["began"]
            weights = sum(p.numel() for p in manager.model.parameters() if p.requires_grad)
            answer = {"count": seen["words"], "cpu_seconds": seconds, "weights": weights}
            print(json.dumps(answer), flush=True)
            os._exit(0)
        if seen["steps"] >= first:
            pieces = manager.model.trg_vocab._itos
            ids = batch.trg[batch.trg != manager.model.pad_index].tolist()
            seen["words"] += sum(pieces[i].startswith("▁") for i in ids)
        seen["steps"] += 1
        return train_step(manager, batch)

    training.TrainManager._train_step = timed
    with tempfile.TemporaryDirectory() as folder:
        training.train(0, 1, config(settings, Path(folder)), skip_test=True)


if __name__ == "__main__":
    main()
