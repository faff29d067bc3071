"""Makes the files of Tests/ArchivesTests/Corpus that were written by hand, each with the beginning of its message.

    python3 Tests/ArchivesTests/Reference/make_corpus.py

Files of the corpus that this does not write were found by mutation (FuzzTests).
"""

import hashlib
import io
import json
import os
import struct
import zipfile

CORPUS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Corpus")
LEGACY = "damaged PyTorch (before 1.6) file: "


def put(name, content, message):
    with open(os.path.join(CORPUS, name), "wb") as file:
        file.write(content)
    with open(os.path.join(CORPUS, name + ".expected"), "w") as file:
        file.write(message + "\n")


def safetensors(header, values):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text)) + text + bytes(values)


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def legacy(pickled):
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    return magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + pickled + b"\x80\x02]."


def archive(entries, method=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as target:
        for name, value in entries.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            target.writestr(info, value)
    return content.getvalue()


def view(shape, strides, count):
    """{'w': a tensor of that shape and those strides over a storage of `count` floats}"""
    def numbers(values):
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI%d\ntQ" % count
    return (b"}S'w'\nctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I0\n" + numbers(shape) + numbers(strides)
            + b"I00\n}tRs.")


def sealed(rest):
    seal = b"GRAFT HDF5 1\nlength %d\nsha256 %s\n" % (len(rest) + 512, hashlib.sha256(rest).hexdigest().encode())
    return seal.ljust(512, b"\0") + rest


def main():
    os.makedirs(CORPUS, exist_ok=True)
    put("overlap.safetensors", safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12),
        "damaged safetensors file: b lies at 4..<12, where 8 was expected")
    put("header-beyond.safetensors", struct.pack("<Q", 90_000_000) + b"{}" + bytes(14),
        "damaged safetensors file: a header of 90000000 bytes in a file of 24")
    put("absurd-shape.safetensors", safetensors({"a": entry([1 << 62, 4], 0, 8)}, 8),
        "damaged safetensors file: a of shape [4611686018427387904, 4] has 8 bytes")
    put("empty-and-huge.safetensors", safetensors({"a": entry([0, 1 << 40, 1 << 40], 0, 0)}, 0),
        "damaged safetensors file: a of shape [0, 1099511627776, 1099511627776] has 0 bytes")
    put("deep.safetensors", safetensors(b'{"a":' * 600, 0),
        "damaged safetensors file: the header is not the JSON that it should be")

    put("system.pt", legacy(b"cos\nsystem\n(S'true'\ntR."), "refused: the pickle asks for os.system, which is not")
    put("instance.pt", archive({"a/data.pkl": b"(S'true'\nios\nsystem\n."}), "refused: the pickle asks for os.system")
    put("cycle.pt", legacy(b"}q\0S'a'\nh\0s."), LEGACY + "dictionaries too deep within each other")
    put("long-text.pt", legacy(b"X\xff\xff\xff\xff"), LEGACY + "it ends too early: 4294967295 bytes wanted")
    put("negative-get.pt", legacy(b"g-1\n."), LEGACY + "the pickle recalls -1, which it never stored")
    put("view-beyond.pt", archive({"a/data.pkl": view([1024, 1024], [0, 0], 4), "a/data/0": bytes(16)}),
        "damaged PyTorch file: w claims 4194304 bytes, more than the file has")
    put("view-outside.pt", archive({"a/data.pkl": view([5], [1], 4), "a/data/0": bytes(16)}),
        "damaged PyTorch file: w of shape [5] at 0 leaves its storage of 16 bytes")

    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as target:
        for value in (b"}.", b"N."):
            target.writestr(zipfile.ZipInfo("a/data.pkl", (1980, 1, 1, 0, 0, 0)), value)
    put("twice.pt", twice.getvalue(), "damaged PyTorch file: a/data.pkl is there twice")
    one = view([1], [1], 4)[:-1]
    tensor = one[one.index(b"ctorch._utils"):-1]
    put("two-of-one-name.pt",
        archive({"a/data.pkl": b"}(S'm'\n}S'w'\n" + tensor + b"sS'm.w'\n" + tensor + b"u.", "a/data/0": bytes(16)}),
        "damaged PyTorch file: m.w is there twice")

    claims = bytearray(archive({"a/data.pkl": bytes(64)}, zipfile.ZIP_DEFLATED))
    directory = claims.index(b"PK\x01\x02")
    claims[directory + 24:directory + 28] = struct.pack("<I", 0x7fff_ffff)
    put("bomb.pt", bytes(claims), "damaged PyTorch file: a/data.pkl claims 2147483647 bytes")
    many = bytearray(archive({"a/data.pkl": bytes(64)}))
    end = many.index(b"PK\x05\x06")
    many[end + 10:end + 12] = struct.pack("<H", 0xfffe)
    put("many-entries.pt", bytes(many), "damaged PyTorch file: 65534 entries in ")

    weights = {"class_name": "Functional", "config": {"name": "m", "layers": [
        {"class_name": "Lambda", "config": {"name": "double"}}]}}
    put("lambda.keras", archive({"config.json": json.dumps(weights), "model.weights.h5": b"\x89HDF\r\n\x1a\n"}),
        "refused: the layer double is a Lambda, which is code")
    weights["config"]["layers"] = []
    put("no-hdf5.keras", archive({"config.json": json.dumps(weights), "model.weights.h5": b"\x89HDF\r\n\x1a\n"}),
        "H5Fopen failed")
    put("no-config.keras", archive({"config.json": "[", "model.weights.h5": b"\x89HDF\r\n\x1a\n"}),
        "damaged Keras 3 archive file: its configuration is not JSON")

    put("elsewhere.index.json", json.dumps({"weight_map": {"a": "../../etc/passwd"}}).encode(),
        'damaged Hugging Face file: it lists a in "../../etc/passwd"')
    put("self.index.json", json.dumps({"weight_map": {"a": "self.index.json"}}).encode(),
        "damaged Hugging Face file: it is a list of files, neither safetensors nor PyTorch")
    put("deep.index.json", b'{"weight_map":' * 600, "is neither HDF5")
    put("absent.index.json", json.dumps({"weight_map": {"a": "no-such-shard.safetensors"}}).encode(),
        "has no file no-such-shard.safetensors beside it, which it lists")

    put("sealed.h5", sealed(b"\x89HDF\r\n\x1a\n" + bytes(range(200))), "H5Fopen failed")
    put("wrong-seal.h5", sealed(b"\x89HDF\r\n\x1a\n" + bytes(100))[:-1] + b"\1",
        "damaged Graft HDF5 file: its SHA-256 is not the one written in its first 512 bytes")


if __name__ == "__main__":
    main()
