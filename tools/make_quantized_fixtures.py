#!/usr/bin/env python3
"""Makes tests/tools/data/demo_quantized.json: what bitsandbytes and transformers make of the demo model.

bitsandbytes quantizes the dense checkpoint (graphs/demo) itself; transformers runs it in float32,
eager. Written are, for nf4, nf4-dq and int8: greedy tokens with the smallest margin between the
first and the second logit, some logits, and an FNV-1a hash of each quantized tensor.

    pip install torch transformers bitsandbytes safetensors accelerate
    tools/make_quantized_fixtures.py graphs/demo tests/tools/data/demo_quantized.json
"""
import json
import sys
import tempfile

import torch
from bitsandbytes.functional import dequantize_4bit
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

PROMPTS = [[1, 2, 30, 44, 55, 66, 77, 88, 99, 100], [1, 700, 300, 1200, 45]]
NEW_TOKENS = 12
LOGITS = 48

FORMATS = {
    "nf4": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32),
    "nf4-dq": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                   bnb_4bit_compute_dtype=torch.float32),
    "int8": dict(load_in_8bit=True),
}


def fnv1a(data: bytes) -> str:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def quantized_hashes(model) -> dict:
    """Hashes of the tensors that quantization made, as save_pretrained writes them."""
    hashes = {}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(f"{folder}/model.safetensors", "pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                scales = name.endswith(("absmax", "quant_map", "SCB"))
                if "quant_state" in name or not (scales or tensor.dtype in (torch.uint8, torch.int8)):
                    continue
                hashes[name] = fnv1a(tensor.contiguous().numpy().tobytes())
    return hashes


def dense_weight(module) -> torch.Tensor:
    """f32 [N, K] as bitsandbytes dequantizes it."""
    weight = module.weight
    if type(module).__name__ == "Linear8bitLt":
        return weight.data.float() * (weight.SCB.float() / 127).unsqueeze(1)
    return dequantize_4bit(weight.data, weight.quant_state).float()


def dequantize(model) -> None:
    """bitsandbytes' products round activations (int8) or use bf16 (nf4 on CPUs): the weights alone
    are compared, in float32."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ not in ("Linear8bitLt", "Linear4bit"):
                continue
            dense = dense_weight(child)
            linear = torch.nn.Linear(dense.shape[1], dense.shape[0], bias=False)
            linear.weight.data = dense
            setattr(module, name, linear)


@torch.no_grad()
def run(model, prompt: list) -> dict:
    ids, margins, first = list(prompt), [], None
    for _ in range(NEW_TOKENS):
        logits = model(torch.tensor([ids])).logits[0, -1].float()
        first = logits if first is None else first
        top = logits.topk(2).values
        margins.append((top[0] - top[1]).item())
        ids.append(int(logits.argmax()))
    return {"prompt_ids": prompt, "greedy_ids": ids[len(prompt):], "smallest_margin": min(margins),
            "logits": first[:LOGITS].tolist()}


def main() -> None:
    checkpoint, out = sys.argv[1:]
    result = {"made_by": "tools/make_quantized_fixtures.py", "formats": {}}
    for name, config in FORMATS.items():
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=torch.float32, quantization_config=BitsAndBytesConfig(**config),
            device_map="cpu", attn_implementation="eager")
        hashes = quantized_hashes(model)
        dequantize(model)
        result["formats"][name] = {"tensors": hashes, "cases": [run(model, p) for p in PROMPTS]}
    with open(out, "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
