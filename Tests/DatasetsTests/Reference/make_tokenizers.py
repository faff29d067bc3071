"""Makes the reference data of TokenizerTests with Hugging Face tokenizers 0.23.

    python make_tokenizers.py [SHARED_DATA [MINILM_FOLDER [GPT2_FOLDER]]]

Three small tokenizers in tokenizers/ (uncased and cased WordPiece, byte-level BPE, trained on SHARED_DATA's
tinyshakespeare and sst2 where the files are missing) are committed, with tokenizers.json: hard texts with their tokens
and offsets, digests over every Unicode scalar, and digests over the tokens of SHARED_DATA's texts. For the folders of
all-MiniLM-L6-v2 (tokenizer.json) and GPT-2 (vocab.json, merges.txt), only digests are committed.
"""
import gzip, hashlib, json, pathlib, struct, sys
import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

here = pathlib.Path(__file__).parent
shared = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else here / "../../../../shared/data")
folder = here / "tokenizers"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Letters beyond those of the texts, so that foreign words are not all unknown.
LETTERS = "äöüßéèêñçåøæœıİğşłžčσςΣабвгдеёяЖאבגשלוםمرحباกขนा你好中文字日本語漢字かなカナ\u1100\u1161\u11a8\u1112\u1161\u11ab" \
    "ﬁＡｂ１①½😀👩👨👧❤\u200d\ufe0f\u0301\u0323_€£…“”’–"


def template(tokenizer):
    cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])


def train(kind):
    texts = (shared / "tinyshakespeare/input.txt").read_text().splitlines()
    texts += [line.split("\t")[-1] for line in (shared / "sst2/train.tsv").read_text().splitlines()]
    if kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=1000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"],
            show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False)
        return tokenizer
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=kind == "uncased")
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=1200, initial_alphabet=list(LETTERS), special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = template(tokenizer)
    return tokenizer


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def replacements(name, text):
    """The variants of the committed files, as replacements of text that the test makes too."""
    file = json.loads(text)
    added = [
        dict(content="<X>", single_word=False, lstrip=True, rstrip=True, normalized=False, special=False),
        dict(content="Zürich", single_word=True, lstrip=False, rstrip=False, normalized=True, special=False),
        dict(content="[DAY]", single_word=True, lstrip=False, rstrip=False, normalized=False, special=True),
        dict(content="[DAY]S", single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)]
    count = len(file["model"]["vocab"])
    entries = "".join("," + compact(dict(id=count + index, **token)) for index, token in enumerate(added))
    more = [['],"normalizer"', entries + '],"normalizer"']]
    normalizer = '"clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":false'
    return {
        "uncased": {"uncased-added": more, "uncased-bert": [[compact(file["post_processor"]), compact(
            dict(type="BertProcessing", sep=["[SEP]", 3], cls=["[CLS]", 2]))]]},
        "cased": {
            "cased-stripped": [[normalizer, normalizer.replace("true", "false").replace("null", "true")]],
            "cased-lowered": [[normalizer, '"clean_text":true,"handle_chinese_chars":true,"strip_accents":false,"lowercase":true']]},
        "bytes": {"bytes-added": more + [
            ['"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false', '"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true'],
            ['"trim_offsets":false', '"trim_offsets":true']]},
    }[name]


def variants():
    """The text of all tokenizers, and how those that are not committed are made."""
    texts, made = {}, {}
    folder.mkdir(exist_ok=True)
    for kind in ("uncased", "cased", "bytes"):
        path = folder / f"{kind}.json"
        if not path.exists():
            train(kind).save(str(path), pretty=False)
        texts[kind] = path.read_text()
        for name, changes in replacements(kind, texts[kind]).items():
            made[name] = dict(base=kind, replacements=changes)
            texts[name] = texts[kind]
            for old, new in changes:
                assert texts[name].count(old) == 1, (name, old)
                texts[name] = texts[name].replace(old, new)
    # The same as vocabulary files, as older models have them.
    vocabulary = json.loads(texts["cased"])["model"]["vocab"]
    (folder / "cased").mkdir(exist_ok=True)
    (folder / "cased/vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get)))
    model = json.loads(texts["bytes"])["model"]
    (folder / "bytes").mkdir(exist_ok=True)
    (folder / "bytes/vocab.json").write_text(compact(model["vocab"]))
    (folder / "bytes/merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"]))
    return {name: Tokenizer.from_str(text) for name, text in texts.items()}, made


HARD = [
    "", " ", "   \t\n ", "Hello, World! It's 5 o'clock; they'll've gone, I'D say 'sun and 're.",
    "What's    up?  \n\n  two\t\ttabs \r\n end ", " leading", "trailing  ", "a\u00a0b\u2003c\u2028d\u3000e\u200bf\ufeffg\u00adh",
    "nul\x00in\x00side \x01\x02\x1b[0m \x7f \x85 \x1c\x1f", "\x00", "\ufffd\ufffd x\ufffdy",
    "café cafe\u0301 CAFÉ e\u0323\u0301 e\u0301\u0323 \u0301 \u0301a a\u0301\u0301\u0301\u0301b Ångström \u212b \u2126",
    "İstanbul Iğdır ıI dotless ı, ß ẞ STRASSE straße ﬁ ﬂ ǅ ǆ Σίσυφος ΣΑΣ",
    "你好，世界。日本語のテキスト 한국어 각 漢字kanji混ぜ \uf900\ufa0e \U00020000\U0002b820\U0002b920",
    "😀 👩\u200d👩\u200d👧\u200d👦 ❤\ufe0f 🇩🇪 👍🏽 1\ufe0f\u20e3 a😀b", "\U0001f3f4\U000e0067\U000e0062\U000e007f",
    "שלום עולם مرحبا بالعالم \u202babc\u202c \u200fx\u200e نَصٌّ", "नमस्ते สวัสดี ขนาด कि",
    "Ｆｕｌｌ－ｗｉｄｔｈ １２３ ① ½ Ⅷ ² x² ᴬ", "a" * 100 + " " + "a" * 101 + " é" + "é" * 99,
    "x" * 150, "ab" * 70 + "!" * 20, " " * 40 + "x" + "\n" * 25, "1234567890" * 4, "don't DON'T don’t 'tis ''s '''",
    "$5.00 +1-2=3 <tag attr=\"v\">&amp;</tag> a_b-c~d^e`f|g\\h @user #tag https://x.y/z?q=1&r=2",
    "\U0010ffff\U000f0000\ue000\uffff\ufdd0 \u0378\U0001e900 \u1734\u166d\U000111c9\u1885 \u061d\u2e52",
    "[CLS] a [SEP] [MASK]s [mask] [MASK][MASK]. [ MASK ] [UNK][PAD]", "a<|endoftext|>b <|endoftext|>\n<|endoftext|> c<|endoftext",
    "go to  <X>  now<X>.Zürich zürich ZURICH Zürichs Zu\u0308rich xZürich [DAY] [DAY]S a[DAY] [DAY]b  <X>",
    "\u0344\u0958\u0f73\u1e9b\u0323 \U0001d15e \u1112\u1161\u11ab 가\u11a8 \u302e\u302a",
    "The quick brown fox\u2026 jumps\u2014over \u201cthe\u201d lazy dog's \u2018back\u2019",
    "mixed العربيةandEnglish日本", "\r\r\n\n\t \t", "\u2028\u2029", "tail space\u3000", "'", " '", "''ll", "a'b", "\u00e9's",
    "x\u1df8\u059ay \u1df6\u0315\u0618z \u08d3\u1abf\u0301 \u0d3b\u0334",
    "Zürich\u1ad8 [DAY]\U00011b61 [DAY]\u0301 zurich\u200d Zürich\u0bfa [DAY]\U0001e4f0",
]
BYTES = [b"ab\xff\xfecd", b"\xed\xa0\x80x\xed\xbf\xbf", b"\xc0\x80 \xf0\x80\x80\x80", b"\xe2\x82 end \xf0\x9f\x98", b"\xf4\x90\x80\x80",
         b"caf\xe9 na\xefve", b"\x80\x81\x00\xe2\x28\xa1", b"ok \xf0\x9f\x98\x80 \xf0\x9f\x98\xe2\x82\xac"]
PAIRS = [("Who wrote it?", "The book, written by Jane in 1813, was long."), ("", "x"), ("x", ""), ("", ""),
         ("one two three four five six seven", "a b c"), ("[MASK] é", "<|endoftext|> 你好")]
WORDS = [["EU", "rejects", "German", "call", "to", "boycott", "British", "lamb", "."], ["", " ", "a b", "\u0301", "caf\u00e9s", "[MASK]"],
         ["@user", "#wnut", "http://t.co/x", "😀", "don't"], []]


def record(encoding):
    return dict(
        tokens=encoding.ids, segments=encoding.type_ids, offsets=[place for span in encoding.offsets for place in span],
        texts=encoding.sequence_ids, words=encoding.word_ids)


def cases(tokenizer):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    result = []
    for text in HARD:
        encoding = tokenizer.encode(text)
        decoded = [tokenizer.decode(encoding.ids), tokenizer.decode(encoding.ids, skip_special_tokens=False)]
        result.append(dict(record(encoding), text=text, special=True, decoded=decoded))
    for data in BYTES:
        result.append(dict(record(tokenizer.encode(data.decode("utf-8", "replace"))), bytes=list(data), special=True))
    for first, second in PAIRS:
        for special in (True, False):
            result.append(dict(record(tokenizer.encode(first, second, add_special_tokens=special)), text=first, pair=second, special=special))
    for words in WORDS:
        result.append(dict(record(tokenizer.encode(words, is_pretokenized=True)), given=words, special=True))
        result.append(dict(
            record(tokenizer.encode(words, WORDS[0], is_pretokenized=True)), given=words, givenPair=WORDS[0], special=True))
    return result


def cut(tokenizer):
    result = []
    names = dict(longest_first="longestFirst", only_first="onlyFirst", only_second="onlySecond")
    for first, second in PAIRS[:1] + PAIRS[4:5] + [("a b c d e f g h", None)]:
        for strategy, swift in names.items():
            for length in (4, 6, 7, 10, 13, 40):
                added = tokenizer.num_special_tokens_to_add(second is not None)
                # Of a text cut to nothing, Hugging Face gives the whole as a further window.
                if length < added + 2 or (strategy == "only_second" and second is None):
                    continue
                for stride in (0, 2):
                    case = dict(text=first, pair=second, truncation=swift, length=length, stride=stride)
                    try:
                        tokenizer.enable_truncation(length, stride=stride, strategy=strategy)
                        encoding = tokenizer.encode(*([first] if second is None else [first, second]))
                        case["windows"] = [record(part) for part in [encoding] + encoding.overflowing]
                    except BaseException as error:
                        # Too short a text to cut, or (a panic) a stride as long as a window.
                        if isinstance(error, (KeyboardInterrupt, SystemExit)):
                            raise
                        if stride > 0:
                            continue
                        case["windows"] = []
                    result.append(case)
    tokenizer.no_truncation()
    return result


def digest(numbers):
    return hashlib.sha256(struct.pack(f"<{len(numbers)}i", *numbers)).hexdigest()


def scalars(tokenizer):
    """Every scalar: normalised by itself, and (as words and tokens) between a letter and a digit."""
    every = [chr(value) for value in range(0x110000) if not 0xD800 <= value < 0xE000]
    normalizer = tokenizer.normalizer
    normalized = hashlib.sha256()
    for scalar in every:
        normalized.update((normalizer.normalize_str(scalar) if normalizer else scalar).encode() + b"\n")
    numbers = []
    for start in range(0, len(every), 4096):
        text = " ".join(f"a{scalar}1!{scalar}" for scalar in every[start:start + 4096])
        encoding = tokenizer.encode(text, add_special_tokens=False)
        for token, (first, last), word in zip(encoding.ids, encoding.offsets, encoding.word_ids):
            numbers += [token, first, last, word]
    return dict(normalized=normalized.hexdigest(), split=digest(numbers))


def lines(path):
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    found = data.split(b"\n")
    return [line.decode("utf-8", "replace") for line in (found[:-1] if found[-1] == b"" else found)]


FILES = ["sst2/train.tsv", "sst2/dev.tsv", "sst2/test.tsv", "wnut17/wnut17train.conll", "wnut17/emerging.dev.conll",
         "wnut17/emerging.test.annotated", "tinyshakespeare/input.txt", "multi30k/train.de.gz", "multi30k/train.en.gz",
         "multi30k/val.de.gz", "multi30k/val.en.gz", "multi30k/test_2016_flickr.de.gz", "multi30k/test_2016_flickr.en.gz"]
SQUAD = "squad/xquad.en.first32.json"


def data(tokenizer):
    result = {}
    for name in FILES:
        encodings = tokenizer.encode_batch(lines(shared / name))
        result[name] = digest([token for encoding in encodings for token in encoding.ids])
    numbers = []
    for article in json.loads((shared / SQUAD).read_text())["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                encoding = tokenizer.encode(question["question"], paragraph["context"])
                for token, (first, last) in zip(encoding.ids, encoding.offsets):
                    numbers += [token, first, last]
    result[SQUAD] = digest(numbers)
    return result


def main():
    found, made = variants()
    reference = dict(
        version=tokenizers.__version__, variants=made,
        cases={name: cases(found[name]) for name in ("uncased", "cased", "bytes", "uncased-added", "bytes-added")},
        cut={name: cut(found[name]) for name in ("uncased", "bytes", "bytes-added")},
        digests={name: digest([number for case in cases(found[name]) for number in case["tokens"] + case["segments"] + case["offsets"]])
                 for name in ("cased-stripped", "cased-lowered", "uncased-bert")},
        scalars={name: scalars(found[name]) for name in ("uncased", "cased", "cased-stripped", "cased-lowered", "bytes")})
    if (shared / FILES[0]).exists():
        reference["data"] = {name: data(found[name]) for name in ("uncased", "cased", "bytes")}
        if len(sys.argv) > 2:
            tokenizer = Tokenizer.from_file(sys.argv[2] + "/tokenizer.json")
            tokenizer.no_truncation()
            tokenizer.no_padding()
            reference["data"]["minilm"] = data(tokenizer)
            reference["scalars"]["minilm"] = scalars(tokenizer)
        if len(sys.argv) > 3:
            model = models.BPE.from_file(sys.argv[3] + "/vocab.json", sys.argv[3] + "/merges.txt")
            tokenizer = Tokenizer(model)
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.add_special_tokens(["<|endoftext|>"])
            reference["data"]["gpt2"] = data(tokenizer)
            reference["scalars"]["gpt2"] = scalars(tokenizer)
    text = json.dumps(reference, ensure_ascii=True, separators=(",", ":"))
    (here / "tokenizers.json").write_text(text.replace('},{"', '},\n{"') + "\n")


if __name__ == "__main__":
    main()
