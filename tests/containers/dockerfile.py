"""A Dockerfile read into its stages, as far as the tests ask."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Stage:
    """One stage: its base, and its instructions in order as pairs of word and text."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """Return the texts of the instructions of a kind."""
        return [text for kind, text in self.instructions if kind == word]

    def command(self, word: str) -> list[str]:
        """Return the words of CMD or HEALTHCHECK, which are to be given as a list."""
        (text,) = self.all(word)
        words: list[str] = json.loads(text[text.index("[") :])
        return words

    def copied(self) -> list[str]:
        """Return the paths of the build context that it copies."""
        texts = [text for text in self.all("COPY") if "--from=" not in text]
        return [path for text in texts for path in shlex.split(text)[:-1]]


@dataclass
class Dockerfile:
    """The whole file."""

    arguments: dict[str, str]
    stages: dict[str, Stage]

    @classmethod
    def read(cls, path: Path) -> "Dockerfile":
        """Read a file in which each stage has a name."""
        lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)).splitlines()
        pairs = [(word, text.strip()) for word, _, text in (line.partition(" ") for line in lines if line)]
        file = cls({}, {})
        stage: Any = None
        for word, text in pairs:
            if word == "FROM":
                base, name = re.split(r"\s+AS\s+", text)
                stage = file.stages[name] = Stage(name, base)
            elif stage is None:
                name, _, value = text.partition("=")
                file.arguments[name] = value
            else:
                stage.instructions.append((word, text))
        return file

    def with_its_bases(self, name: str) -> list[Stage]:
        """Return a stage and those that it stands on or copies from, itself first."""
        stage = self.stages[name]
        copied = [source for text in stage.all("COPY") for source in re.findall(r"--from=(\S+)", text)]
        return [
            stage,
            *(found for other in (stage.base, *copied) if other in self.stages for found in self.with_its_bases(other)),
        ]
