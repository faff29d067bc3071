"""Makes minilm.json: sentence embeddings of all-MiniLM-L6-v2 by transformers, in float64.

    python make_minilm_reference.py FOLDER     # torch, transformers; the folder with config.json and the weights

Of each sentence its tokens and every 16th number of its embedding: the mean over tokens, of unit length.
"""
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers

SENTENCES = [
    "A graft joins a shoot to the roots of another plant.",
    "Gardeners graft apple trees.",
    "The train to Dresden leaves from platform nine; it stops twice on its way and is usually late in winter.",
    "Naïve café, 東京 and emoji 🙂!",
]

folder = sys.argv[1]
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float64).eval()
batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
with torch.no_grad():
    states = model(**batch).last_hidden_state
mask = batch["attention_mask"][..., None]
embeddings = F.normalize((states * mask).sum(1) / mask.sum(1))
reference = {
    "transformers": transformers.__version__,
    "sentences": SENTENCES,
    "tokens": batch["input_ids"].tolist(),
    "embeddings": [[float("%.9g" % v) for v in row[::16].tolist()] for row in embeddings],
    "similarities": [[float("%.9g" % v) for v in row] for row in (embeddings @ embeddings.T).tolist()],
}
(Path(__file__).parent / "minilm.json").write_text(json.dumps(reference, ensure_ascii=False, separators=(",", ":")))
