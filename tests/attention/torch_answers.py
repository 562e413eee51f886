"""What PyTorch answers to the questions of test_torch.py; run in a process that has no TensorFlow.

python tests/attention/torch_answers.py QUESTIONS.npz ANSWERS.npz
"""

import json
import sys

import numpy as np
import torch


def attend(asked, arrays):
    """`scaled_dot_product_attention`: context, and gradients of all that is given."""
    given = {name: torch.tensor(array) for name, array in arrays.items() if name != "upstream"}
    for tensor in given.values():
        tensor.requires_grad_(tensor.is_floating_point())
    # From (batch, length, heads, dim) to (batch, heads, length, dim).
    query, key, value = (given[name].transpose(1, 2) for name in ("query", "key", "value"))
    context = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=given.get("mask", given.get("bias")),
        is_causal=asked["is_causal"],
        enable_gqa=query.shape[1] != key.shape[1],
    ).transpose(1, 2)
    (context * torch.tensor(arrays["upstream"])).sum().backward()
    return {"context": context, **gradients(given)}


def attend_with_heads(asked, arrays):
    """`MultiheadAttention`: output, weights, and gradients of inputs and of every weight."""
    query, key, value = (
        torch.tensor(arrays[name], requires_grad=True) for name in ("query", "key", "value")
    )
    layer = torch.nn.MultiheadAttention(
        query.shape[-1],
        asked["num_heads"],
        kdim=key.shape[-1],
        vdim=value.shape[-1],
        bias=asked["use_bias"],
        batch_first=True,
        dtype=query.dtype,
    )
    weights = {name: torch.tensor(arrays[name]) for name, _ in layer.named_parameters()}
    layer.load_state_dict(weights)
    mask, key_mask = arrays.get("mask"), arrays.get("key_mask")
    output, weights = layer(
        query,
        key,
        value,
        # Here True means to leave out.
        attn_mask=None if mask is None else torch.tensor(~mask),
        key_padding_mask=None if key_mask is None else torch.tensor(~key_mask),
        need_weights=True,
        average_attn_weights=False,
    )
    (output * torch.tensor(arrays["upstream"])).sum().backward()
    inputs = {"query": query, "key": key, "value": value}
    answers = {"output": output, "weights": weights, **gradients(inputs)}
    return answers | gradients(dict(layer.named_parameters()))


def gradients(tensors):
    """Gradients by name, of the tensors that have one."""
    return {f"by {name}": tensor.grad for name, tensor in tensors.items() if tensor.requires_grad}


def main():
    torch.set_num_threads(1)
    questions = np.load(sys.argv[1])
    answers = {}
    for name, asked in json.loads(str(questions["asked"])).items():
        arrays = {array: questions[f"{name}/{array}"] for array in asked["arrays"]}
        answer = attend if asked["of"] == "attention" else attend_with_heads
        for part, tensor in answer(asked, arrays).items():
            answers[f"{name}/{part}"] = tensor.detach().numpy()
    np.savez(sys.argv[2], **answers)


if __name__ == "__main__":
    main()
