"""Makes language.json: BERT and GPT-2 of transformers, filled by formula, in float64.

    python make_language_reference.py        # torch, transformers, numpy

Of each network: logits (every 101st of GPT-2's), the loss, and of every gradient the largest magnitude, the sum and five
entries; without dropout.
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers

from formula import filled, formula, gradients, numbers, tokens

torch.set_default_dtype(torch.float64)


def bert(length):
    config = transformers.BertConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512, num_labels=2)
    model = filled(transformers.BertForSequenceClassification(config)).double().eval()
    ids = tokens(f"tokens{length}", (2, length), config.vocab_size)
    ids[1, length - 3:] = 0
    logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
    loss = F.cross_entropy(logits, torch.tensor([1, 0]))
    loss.backward()
    return {"logits": numbers(logits), "loss": loss.item(), "gradients": gradients(model)}


def gpt2(length):
    model = filled(transformers.GPT2LMHeadModel(transformers.GPT2Config())).double().eval()
    # The tied head was filled under its own name last.
    model.transformer.wte.weight.data.copy_(formula("transformer.wte.weight", (model.config.vocab_size, 768)))
    ids = tokens(f"tokens{length}", (2, length), model.config.vocab_size)
    output = model(input_ids=ids, labels=ids)
    output.loss.backward()
    return {
        "logits": numbers(output.logits.flatten()[::101]), "loss": output.loss.item(), "gradients": gradients(model)}


reference = {
    "transformers": transformers.__version__,
    "bert_tiny": {str(n): bert(n) for n in (7, 20)},
    "gpt2": {str(n): gpt2(n) for n in (6,)},
}
(Path(__file__).parent / "language.json").write_text(json.dumps(reference, separators=(",", ":")))
