"""Figures of docs/mapping.md from records and from what `segfit calibrate check --json` printed; needs nothing but Python.

    segfit calibrate check calibration/records.jsonl --choices benchmarks/mapping/xtinyunet.json --json > check.json
    python benchmarks/mapping/figures.py check.json --out docs

mapping_curves.svg    measured retention over parameters, one line for each data set (uniform networks of the reference's depth)
mapping_check.svg     measured against predicted retention of data sets left out, with the 90% intervals
mapping_decision.svg  weights chosen over those of the oracle, for every rule and data set; crosses did not keep the share
"""

import argparse
import json
import math
from html import escape
from pathlib import Path

COLOURS = ["#1b6ca8", "#d1495b", "#2e933c", "#8f5cb5", "#c17817", "#4a4a4a", "#17a398", "#a03e99", "#7d8f14", "#5e3023", "#e36397", "#3d5a80"]  # fmt: skip


class Figure:
    """An SVG with one pair of axes; `x` and `y` are (low, high), on a log scale where `log`."""

    def __init__(self, title, x, y, width=640, height=400, left=64, right=150, top=28, bottom=46, log=True):
        self.x, self.y, self.log = x, y, log
        self.box = left, top, width - right, height - bottom
        self.out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        ]

    def at(self, x, y):
        left, top, right, bottom = self.box
        scale = math.log if self.log else (lambda v: v)
        low, high = map(scale, self.x)
        share = (scale(x) - low) / (high - low)
        return left + share * (right - left), bottom - (y - self.y[0]) / (self.y[1] - self.y[0]) * (bottom - top)

    def line(self, points, colour, width=1.3, dash=""):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*p) for p in points))
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        self.out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def dot(self, x, y, colour, kept=True):
        px, py = self.at(x, y)
        if kept:
            self.out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>')
        else:
            path = f"M{px - 3:.1f} {py - 3:.1f}l6 6m0 -6l-6 6"
            self.out.append(f'<path d="{path}" stroke="{colour}" stroke-width="1.6"/>')

    def text(self, px, py, words, anchor="start", colour="#000000", turn=0):
        turn = f' transform="rotate({turn} {px:.1f} {py:.1f})"' if turn else ""
        self.out.append(
            f'<text x="{px:.1f}" y="{py:.1f}" text-anchor="{anchor}" fill="{colour}"{turn}>{escape(words)}</text>'
        )

    def axes(self, x_ticks, y_ticks, x_words, y_words):
        left, top, right, bottom = self.box
        for value, words in x_ticks:
            px, _ = self.at(value, self.y[0])
            self.out.append(f'<path d="M{px:.1f} {top}V{bottom}" stroke="#e4e4e4"/>')
            self.text(px, bottom + 15, words, "middle")
        for value, words in y_ticks:
            _, py = self.at(self.x[0], value)
            self.out.append(f'<path d="M{left} {py:.1f}H{right}" stroke="#e4e4e4"/>')
            self.text(left - 6, py + 4, words, "end")
        self.out.append(f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#000000"/>')
        self.text((left + right) / 2, bottom + 34, x_words, "middle")
        if y_words:
            self.text(14, (top + bottom) / 2, y_words, "middle", turn=-90)

    def legend(self, entries):
        for i, (words, colour) in enumerate(entries):
            x, y = self.box[2] + 12, self.box[1] + 8 + 16 * i
            self.out.append(f'<path d="M{x} {y}h14" stroke="{colour}" stroke-width="3"/>')
            self.text(x + 19, y + 4, words)

    def write(self, path):
        path.write_text("\n".join(self.out + ["</svg>"]) + "\n")


def powers(low, high):
    return [(10.0**k, {3: "1k", 4: "10k", 5: "100k", 6: "1M", 7: "10M"}.get(k, f"{10.0**k:g}")) for k in range(-9, 9) if low <= 10.0**k <= high]  # fmt: skip


def steps(low, high, step):
    first = math.ceil(low / step - 1e-9)
    return [(i * step, f"{i * step:.2f}".rstrip("0").rstrip(".")) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def curves(check, path):
    sets = check["data_sets"]
    depth = max(p["depth"] for p in check["predictions"] if p["uniform"])
    own = {
        name: sorted(
            (p["params"], p["measured"]) for p in check["predictions"]
            if p["data_set"] == name and p["uniform"] and p["depth"] == depth
        ) for name in sets
    }  # fmt: skip
    every = [p for points in own.values() for p in points]
    low, high = min(r for _, r in every), max(r for _, r in every)
    x = min(p for p, _ in every) / 1.3, max(p for p, _ in every) * 1.3
    y = math.floor(low * 20) / 20, math.ceil(high * 20) / 20
    figure = Figure("Retention over parameters, measured", x, y)
    figure.axes(powers(*x), steps(*y, 0.05), "parameters", "retention of the reference's Dice")
    keep = check["decision"]["keep"]
    if y[0] < keep < y[1]:
        figure.line([(x[0], keep), (x[1], keep)], "#000000", 1, "4 3")
    for name, colour in zip(sets, COLOURS):
        figure.line(own[name], colour)
        for point in own[name]:
            figure.dot(*point, colour)
    figure.legend([(name, colour) for name, colour in zip(sets, COLOURS)])
    figure.write(path)


def predicted(check, path):
    points = check["predictions"]
    values = [v for p in points for v in (p["measured"], p["predicted"]["mean"])]
    low, high = math.floor(min(values) * 20) / 20, math.ceil(max(values) * 20) / 20
    figure = Figure("Measured against predicted retention, data sets left out", (low, high), (low, high), log=False)
    figure.axes(steps(low, high, 0.1), steps(low, high, 0.1), "predicted retention", "measured retention")
    figure.line([(low, low), (high, high)], "#888888", 1, "4 3")
    colours = dict(zip(check["data_sets"], COLOURS))
    for p in points:
        x, colour = p["predicted"]["mean"], colours[p["data_set"]]
        # The interval of the prediction, drawn on the axis of the measured value that should lie in it.
        ends = [min(max(p["predicted"][end], low), high) for end in ("low", "high")]
        figure.line([(x, ends[0]), (x, ends[1])], colour + "40", 1)
    for p in points:
        inside = p["predicted"]["low"] <= p["measured"] <= p["predicted"]["high"]
        figure.dot(p["predicted"]["mean"], p["measured"], colours[p["data_set"]], inside)
    figure.legend(list(colours.items()))
    figure.write(path)


def decision(check, path):
    rules = [r for r in check["decision"]["rules"] if r["choices"] and r["rule"] != "oracle"]
    ratios = [c["ratio"] for r in rules for c in r["choices"]]
    x = min(ratios) / 1.5, max(ratios) * 1.5
    names = [f"{r['rule']}: {r['kept']} of {len(r['choices'])} kept" for r in rules]
    height = 70 + 24 * len(rules)
    figure = Figure("Weights chosen over the oracle's", x, (len(rules) - 0.5, -0.5), height=height, left=210, top=12)
    figure.axes(powers(*x), [(i, name) for i, name in enumerate(names)], "weights chosen / weights of the oracle", "")
    figure.line([(1, len(rules) - 0.5), (1, -0.5)], "#000000", 1, "4 3")
    colours = dict(zip(check["data_sets"], COLOURS))
    for i, rule in enumerate(rules):
        for j, c in enumerate(rule["choices"]):
            figure.dot(c["ratio"], i + 0.05 * (j - len(rule["choices"]) / 2), colours[c["data_set"]], c["kept"])
    figure.legend(list(colours.items()))
    figure.write(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("check", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    check = json.loads(args.check.read_text())
    curves(check, args.out / "mapping_curves.svg")
    predicted(check, args.out / "mapping_check.svg")
    decision(check, args.out / "mapping_decision.svg")


if __name__ == "__main__":
    main()
