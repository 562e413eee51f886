"""Time JoeyNMT's beam search; runs in JoeyNMT's own environment, not in this project's.

python joeynmt_decoding.py SETTINGS.json

A model of the settings' sizes with weights as they were drawn decodes sources of the given lengths
for exactly as many steps as asked, which costs what a trained one costs. Prints a line of JSON.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from joeynmt.model import build_model
from joeynmt.search import beam_search
from joeynmt.vocabulary import Vocabulary
from joeynmt_training import config


def main() -> None:
    """Build, decode once to warm up, decode and time."""
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    special = SimpleNamespace(
        unk_id=0, pad_id=1, bos_id=2, eos_id=3, unk_token="<unk>", pad_token="<pad>",
        bos_token="<s>", eos_token="</s>", sep_id=None, sep_token=None, lang_tags=[],
    )  # fmt: skip
    pieces = Path(settings["vocabulary"]).read_text(encoding="utf-8").splitlines()
    vocabulary = Vocabulary(pieces[4:], special)
    torch.manual_seed(1)
    model = build_model(config(settings, Path())["model"], vocabulary, vocabulary).eval()
    generator = torch.Generator().manual_seed(1)
    batches = [
        torch.randint(4, len(vocabulary), (settings["batch_size"], length), generator=generator)
        for length in settings["lengths"]
    ]

    def decode(source: Any) -> None:
        mask = torch.ones(source.shape[0], 1, source.shape[1], dtype=torch.bool)
        with torch.no_grad():
            encoded, hidden, _, _ = model(
                return_type="encode", src=source, src_length=mask.sum(-1)[:, 0], src_mask=mask
            )
            beam_search(
                model=model,
                beam_size=settings["beam_size"],
                encoder_output=encoded,
                encoder_hidden=hidden,
                src_mask=mask,
                max_output_length=settings["steps"],
                min_output_length=settings["steps"],
                alpha=1.0,
                generate_unk=False,
            )

    decode(batches[0])
    began = time.process_time()
    for source in batches:
        decode(source)
    sentences = settings["batch_size"] * len(batches)
    print(json.dumps({"count": sentences, "cpu_seconds": time.process_time() - began}))


if __name__ == "__main__":
    main()
