"""Makes questions.json with Hugging Face tokenizers 0.23: hard questions, and the windows that transformers' `run_qa` makes of them.

    python make_questions.py

For each length and stride, every window's tokens, segments, places of tokens in the passage, and the first and last token of
the answer. `run_qa` walks from the last token of the passage on into the padding where an answer begins in it; here the
answer's first token is never behind the passage.
"""
import json
import pathlib
import tokenizers

here = pathlib.Path(__file__).parent

PARAGRAPHS = [
    ("Jane wrote it in 1813, in the south of the kingdom; Élodie read it to the children, who were not asleep. "
     "It was the best of times, it was the worst of times, and nobody slept before the end of the story was told.",
     [("Who wrote it?", ["Jane"]), ("Who read it to the children?", ["Élodie", "Élodie read"]),
      ("When was it written?", ["1813,", "1813"]), ("What was told?", ["the end of the story was told."]),
      ("In which part?", ["south of the kingdom; Élodie read it to the children, who were"]), ("Who was asleep?", None),
      ("Which letters are these in the middle of a word?", ["rea"])]),
    ("   你好 👩‍👧 x308y,\n\n the  answer's   last word:  yes",
     [("How many?", ["308"]), ("The last word?", ["yes"]), ("The first?", ["你"]), ("Blank?", ["  answer's "]),
      ("Family?", ["👩‍👧"]), ("Never?", None), ("   Spaces before   the question ?", ["the  answer's"])]),
    ("short", [("What?", ["short"]), ("is this a very long question about a very short text , is it not so , my lord ?",
                                      ["short"])]),
    ("", [("Nothing?", None)]),
]
CUTS = [(32, 8), (48, 0), (30, 4), (384, 128)]


def squad():
    paragraphs, number = [], 0
    for context, asked in PARAGRAPHS:
        questions = []
        for question, answers in asked:
            number += 1
            found = [{"text": text, "answer_start": context.index(text)} for text in answers or []]
            questions.append({"id": f"q{number}", "question": question, "answers": found, "is_impossible": not found})
        paragraphs.append({"context": context, "qas": questions})
    return {"version": "v2.0", "data": [{"title": "Hard", "paragraphs": paragraphs}]}


def window(encoding, answers):
    passage = [i for i, part in enumerate(encoding.sequence_ids) if part == 1]
    offsets, labels = encoding.offsets, [0, 0]
    if answers and passage:
        begin = answers[0]["answer_start"]
        end = begin + len(answers[0]["text"])
        if offsets[passage[0]][0] <= begin and offsets[passage[-1]][1] >= end:
            labels = [max(i for i in passage if offsets[i][0] <= begin), min(i for i in passage if offsets[i][1] >= end)]
    places = [place for i, offset in enumerate(offsets) for place in (offset if i in passage else (-1, -1))]
    return {"tokens": encoding.ids, "segments": encoding.type_ids, "labels": labels, "places": places}


data = squad()
tokenizer = tokenizers.Tokenizer.from_file(str(here / "tokenizers/uncased.json"))
cases = []
for length, stride in CUTS:
    tokenizer.enable_truncation(length, stride=stride, strategy="only_second")
    windows = []
    for paragraph in data["data"][0]["paragraphs"]:
        for question in paragraph["qas"]:
            encoding = tokenizer.encode(question["question"], paragraph["context"])
            for number, part in enumerate([encoding] + encoding.overflowing):
                windows.append({"id": question["id"], "window": number} | window(part, question["answers"]))
    cases.append({"length": length, "stride": stride, "windows": windows})
text = json.dumps({"squad": data, "cases": cases}, ensure_ascii=False, separators=(",", ":"))
(here / "questions.json").write_text(text + "\n")
