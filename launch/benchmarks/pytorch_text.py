"""The recipes over text with PyTorch and transformers: the same data, sizes, steps and settings.

    pytorch_text.py classify --weights FOLDER --train train.tsv --test test.tsv    launch/recipes/sst2-minilm.yaml
    pytorch_text.py language --text input.txt                                      launch/recipes/shakespeare-gpt2.yaml

Prints JSON: of classify top1 and loss on the test file, of language the loss of the held-out text, each byte but the first
predicted once from those before it in its block; and seconds of training.
"""

import argparse
import json
import math
import time

import torch
from torch.nn import functional


def decayed(model, decay):
    """Two groups of parameters: biases and normalisation layers do not decay."""
    groups = [[], []]
    for parameter in model.parameters():
        groups[parameter.dim() < 2].append(parameter)
    return [{"params": groups[0], "weight_decay": decay}, {"params": groups[1], "weight_decay": 0.0}]


def factor(step, total, warm_up, start, end, shape):
    """What the learning rate of a step is multiplied by, as Graft's schedules have it."""
    done = min(1, max(0, step - warm_up) / max(1, total - warm_up))
    course = end + (1 - end) * (1 + math.cos(math.pi * done)) / 2 if shape == "cosine" else 1 + (end - 1) * done
    return course * (start + (1 - start) * step / warm_up if step < warm_up else 1)


def rows(path):
    pairs = [line.rstrip("\n").split("\t") for line in open(path, encoding="utf-8") if line.strip()]
    return [pair[0] for pair in pairs], torch.tensor([int(pair[1]) for pair in pairs])


def classify(options):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.weights)
    model = AutoModelForSequenceClassification.from_pretrained(options.weights, num_labels=2)
    texts, labels = rows(options.train)
    if options.fraction < 1:
        chosen = torch.cat(
            [
                members[torch.randperm(len(members))[: round(len(members) * options.fraction)]]
                for members in ((labels == label).nonzero().flatten() for label in (0, 1))
            ])
        texts, labels = [texts[index] for index in chosen], labels[chosen]
    if options.frozen:
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name.startswith("classifier")
    per_epoch = math.ceil(len(texts) / options.batch)
    total = options.steps or options.epochs * per_epoch
    optimizer = torch.optim.AdamW(decayed(model, options.decay), lr=options.learning_rate)

    def logits(batch):
        fields = tokenizer(batch, truncation=True, max_length=options.length, padding=True, return_tensors="pt")
        return model(**fields).logits

    model.train()
    begin = time.time()
    for step in range(total):
        if step % per_epoch == 0:
            order = torch.randperm(len(texts))
        part = order[step % per_epoch * options.batch :][: options.batch]
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * factor(step, total, options.warm_up, 0, 0, "linear")
        loss = functional.cross_entropy(logits([texts[index] for index in part]), labels[part])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
    seconds = time.time() - begin

    model.eval()
    texts, labels = rows(options.test)
    with torch.no_grad():
        answers = torch.cat([logits(texts[start : start + 64]) for start in range(0, len(texts), 64)])
    return {
        "top1": (answers.argmax(1) == labels).float().mean().item(),
        "loss": functional.cross_entropy(answers, labels).item(),
        "samples": len(texts), "steps": total, "seconds": seconds,
    }


def language(options):
    from transformers import GPT2Config, GPT2LMHeadModel

    text = open(options.text, encoding="utf-8").read()
    parts = [text[: int(len(text) * 0.9)], text[int(len(text) * 0.9) :]]
    train, test = (torch.tensor(list(part.encode()), dtype=torch.long) for part in parts)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=256, n_positions=options.block, n_embd=128, n_layer=4, n_head=4, resid_pdrop=0, embd_pdrop=0,
            attn_pdrop=0, bos_token_id=None, eos_token_id=None))
    optimizer = torch.optim.AdamW(decayed(model, 0.1), lr=1e-3, betas=(0.9, 0.99))

    def loss(tokens, following, reduction="mean"):
        return functional.cross_entropy(
            model(tokens).logits.flatten(0, 1), following.flatten(), reduction=reduction, ignore_index=-100)

    model.train()
    begin = time.time()
    for step in range(options.steps):
        starts = torch.randint(len(train) - options.block, (options.batch,))
        tokens = torch.stack([train[start : start + options.block] for start in starts])
        following = torch.stack([train[start + 1 : start + 1 + options.block] for start in starts])
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * factor(step, options.steps, options.warm_up, 0.01, 0.1, "cosine")
        value = loss(tokens, following)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
    seconds = time.time() - begin

    model.eval()
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(test) - 1, options.block * 64):
            blocks = test[start : start + options.block * 64 + 1]
            count = len(blocks) - 1
            padding = -count % options.block
            tokens = functional.pad(blocks[:-1], (0, padding)).view(-1, options.block)
            following = functional.pad(blocks[1:], (0, padding), value=-100).view(-1, options.block)
            total += loss(tokens, following, "sum").item()
    mean = total / (len(test) - 1)
    return {
        "loss": mean, "perplexity": math.exp(mean), "tokens": len(test) - 1, "steps": options.steps, "seconds": seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("classify")
    one.add_argument("--weights", required=True)
    one.add_argument("--train", required=True)
    one.add_argument("--test", required=True)
    one.add_argument("--fraction", type=float, default=1)
    one.add_argument("--frozen", action="store_true", help="let only the classifier learn")
    one.add_argument("--epochs", type=int, default=3)
    one.add_argument("--batch", type=int, default=32)
    one.add_argument("--length", type=int, default=128)
    one.add_argument("--learning-rate", type=float, default=5e-5)
    one.add_argument("--decay", type=float, default=0.01)
    two = commands.add_parser("language")
    two.add_argument("--text", required=True)
    two.add_argument("--batch", type=int, default=12)
    two.add_argument("--block", type=int, default=64)
    for command, steps, warm_up in [(one, None, 65), (two, 2000, 100)]:
        command.add_argument("--steps", type=int, default=steps)
        command.add_argument("--warm-up", type=int, default=warm_up)
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    print(json.dumps(classify(options) if options.command == "classify" else language(options)))


if __name__ == "__main__":
    main()
