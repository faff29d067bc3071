"""Makes text_heads.json: small networks of transformers with every head, filled by formula, in float64.

    python make_text_heads_reference.py        # torch, transformers, numpy

Two sequences of 11 tokens, the second ends in three of padding; BERT with three kinds of segments. Logits, the loss, and
of every gradient the largest magnitude, the sum and five entries; without dropout. Of GPT-2 also what it says next.
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers

from formula import filled, formula, gradients, numbers, tokens

torch.set_default_dtype(torch.float64)

VOCABULARY, LENGTH, WIDTH, LABELS = 67, 11, 96, 3
ids = tokens("tokens11", (2, LENGTH), VOCABULARY)
ids[1, LENGTH - 3:] = 0
mask = (ids != 0).long()
segments = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 2, 2, 0, 0, 0]])
classes = torch.tensor([2, 0])
token_classes = torch.arange(2 * LENGTH).reshape(2, LENGTH) * 7 % LABELS
token_classes[mask == 0] = -100
token_classes[:, 0] = -100
starts, ends = torch.tensor([2, 4]), torch.tensor([5, 7])
masked = torch.full((2, LENGTH), -100)
masked[0, 3], masked[0, 7], masked[1, 1], masked[1, 4] = 9, 60, 33, 1


def refill(parameter, name):
    """Tied parameters were filled under the name that comes last."""
    parameter.data.copy_(formula(name, tuple(parameter.shape)))


def case(model, logits, loss, prefix=""):
    loss.backward()
    return {"logits": numbers(logits), "loss": loss.item(), "gradients": gradients(model, prefix)}


def encoder(config, names, prefix, extra):
    """All heads of an encoder; `names` are the classes of transformers."""
    inputs = {"input_ids": ids, "attention_mask": mask} | extra
    cases = {}

    def built(name):
        return filled(getattr(transformers, names[name])(config)).double().eval()

    model = built("sequence-classification")
    output = model(**inputs, labels=classes)
    cases["sequence-classification"] = case(model, output.logits, output.loss)
    model = built("token-classification")
    output = model(**inputs, labels=token_classes)
    cases["token-classification"] = case(model, output.logits, output.loss)
    # The same names without a pooler, on the mean of what the encoder gives.
    model = built("token-classification")
    states = getattr(model, prefix.rstrip("."))(**inputs).last_hidden_state
    logits = model.classifier((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    cases["mean-classification"] = case(model, logits, F.cross_entropy(logits, classes))
    config.num_labels = 2
    model = built("question-answering")
    output = model(**inputs)
    # transformers' own loss has padding among the places.
    logits = torch.stack([output.start_logits, output.end_logits], -1)
    places = logits.masked_fill(mask[..., None] == 0, -torch.inf).transpose(1, 2)
    cases["question-answering"] = case(
        model, logits, F.cross_entropy(places.flatten(0, 1), torch.stack([starts, ends], 1).flatten()))
    model = built("masked-language-model")
    words, bias = {
        "bert.": ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias"),
        "distilbert.": ("distilbert.embeddings.word_embeddings.weight", "vocab_projector.bias")}[prefix]
    for path in (words, bias):
        refill(model.get_parameter(path), path)
    output = model(**inputs, labels=masked)
    cases["masked-language-model"] = case(model, output.logits, output.loss)
    for name in ("embedding", "mean-embedding"):
        arguments = {"add_pooling_layer": False} if prefix == "bert." else {}
        model = getattr(transformers, names["embedding"])(config, **arguments).double().eval()
        for path, parameter in model.named_parameters():
            refill(parameter, prefix + path)
        states = model(**inputs).last_hidden_state
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        if name == "embedding":
            pooled = F.normalize(pooled)
        loss = (pooled * formula("input.embedding", (2, WIDTH))).sum()
        cases[name] = case(model, pooled, loss, prefix)
    return cases


def bert():
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=3, intermediate_size=200,
        max_position_embeddings=24, type_vocab_size=3, num_labels=LABELS)
    names = {
        "sequence-classification": "BertForSequenceClassification",
        "token-classification": "BertForTokenClassification",
        "question-answering": "BertForQuestionAnswering", "masked-language-model": "BertForMaskedLM",
        "embedding": "BertModel"}
    return encoder(config, names, "bert.", {"token_type_ids": segments})


def distilbert():
    config = transformers.DistilBertConfig(
        vocab_size=VOCABULARY, dim=WIDTH, n_layers=2, n_heads=3, hidden_dim=200, max_position_embeddings=24,
        num_labels=LABELS)
    names = {
        "sequence-classification": "DistilBertForSequenceClassification",
        "token-classification": "DistilBertForTokenClassification",
        "question-answering": "DistilBertForQuestionAnswering", "masked-language-model": "DistilBertForMaskedLM",
        "embedding": "DistilBertModel"}
    return encoder(config, names, "distilbert.", {})


def gpt2_config():
    return transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=3, n_inner=200, n_positions=24, num_labels=LABELS,
        pad_token_id=0, bos_token_id=1, eos_token_id=1)


def gpt2():
    model = filled(transformers.GPT2LMHeadModel(gpt2_config())).double().eval()
    refill(model.transformer.wte.weight, "transformer.wte.weight")
    text = tokens("tokens11", (2, LENGTH), VOCABULARY)
    output = model(input_ids=text, labels=text)
    cases = {"language-model": case(model, output.logits, output.loss)}
    said = text[:, :4]
    with torch.no_grad():
        for _ in range(16):
            said = torch.cat([said, model(input_ids=said).logits[:, -1].argmax(-1, keepdim=True)], 1)
    model = filled(transformers.GPT2ForSequenceClassification(gpt2_config())).double().eval()
    output = model(input_ids=ids, attention_mask=mask, labels=classes)
    cases["sequence-classification"] = case(model, output.logits, output.loss)
    return cases, said[:, 4:].tolist()


cases, said = gpt2()
reference = {
    "transformers": transformers.__version__,
    "cases": {"bert": bert(), "distilbert": distilbert(), "gpt2": cases},
    "greedy": said,
}
(Path(__file__).parent / "text_heads.json").write_text(json.dumps(reference, separators=(",", ":")))
