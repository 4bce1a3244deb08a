"""A progress that remembers what it was told."""

from attnscope.runs.progress import Progress


class Hearing(Progress):
    def __init__(self):
        self.counts, self.halvings, self.parts, self.lines, self.stretches = [], [], [], [], []

    def stretch(self, label, total):
        self.stretches.append((label, total))
        return super().stretch(label, total)

    def advance(self, count=1):
        self.counts.append(count)

    def part(self, table):
        self.parts.append(table)

    def halved(self, size):
        self.halvings.append(size)

    def failed(self, name, reason):
        self.lines.append(f"{name}: {reason}")

    def say(self, line):
        self.lines.append(line)
