"""What the processes said, one JSON object per line."""

import collections
import json


def last_object(text):
    """The JSON object at the end of a program's output; programs may print lines before it."""
    decoder, found = json.JSONDecoder(), None
    position = text.find("{")
    while position >= 0:
        try:
            found, position = decoder.raw_decode(text, position)
        except ValueError:
            position += 1
        position = text.find("{", position)
    if not isinstance(found, dict):
        raise ValueError(f"no JSON object in: {text[-500:]!r}")
    return found


class Records:
    """A file of records: `machine` lines, and lines with key, side, round, build, command, wall and result."""

    def __init__(self, path):
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.lines = [json.loads(line) for line in lines if line.strip()]

    def add(self, record):
        self.lines.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def machine(self):
        """The newest description of the machine, with build and date."""
        return next((line for line in reversed(self.lines) if "machine" in line), None)

    def sides(self, key, round, build):
        """The sides of a row that were measured in a round with a build of graft."""
        return {line["side"] for line in self.of(key) if line["round"] == round and line["build"] == build}

    def of(self, key):
        return [line for line in self.lines if line.get("key") == key]

    def by_side(self, key):
        """By side, records of the build that was measured last, by round."""
        lines = self.of(key)
        chosen = collections.defaultdict(dict)
        for line in lines:
            if line["build"] == lines[-1]["build"]:
                chosen[line["side"]][line["round"]] = line
        return chosen
