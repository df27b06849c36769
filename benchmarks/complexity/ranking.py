"""Ranks data sets by each measure of their profiles, and finds measures that say the same: docs/complexity_ranking.md and .svg.

    python ranking.py profile.json... [--out ../../docs]          (pip install numpy scipy)

A profile is what `segfit measure DATA --split all --size 256 --out profile.json` writes. With `--per-image` the note also
tells how redundant measures correlate between the images of one data set.
"""

import argparse
import itertools
import json
import statistics
import sys
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

REDUNDANT = 0.9
NAME = "complexity_ranking"


def main_measures(profiles):
    """Each measure at scale 1, or at the first scale that it has; those that every data set has and that differ."""
    names = {}
    for name in sorted(set.union(*(set(p["measures"]) for p in profiles)), key=scale_of):
        names.setdefault(name.split("@")[0], name)
    usable = (n for n in names.values() if all(n in p["measures"] for p in profiles))
    return sorted(n for n in usable if len({p["measures"][n]["mean"] for p in profiles}) > 1)


def scale_of(name):
    """1, 2, 4, ...: the first is full size."""
    return int(name.split("@1/")[1]) if "@" in name else 1


def means(profiles, names):
    """Data sets x measures."""
    return np.array([[p["measures"][n]["mean"] for n in names] for p in profiles])


def spearman(table):
    """Rank correlation of the columns."""
    return np.corrcoef(stats.rankdata(table, axis=0), rowvar=False)


def ranks(table, larger_is_more):
    """1 is the most complex; equal values share the mean of their places."""
    return stats.rankdata(np.where(larger_is_more, -table, table), axis=0)


def within(profiles, a, b):
    """Median over the data sets of the correlation between images; None without values of images."""
    found = []
    for p in profiles:
        pairs = [(i["values"][a], i["values"][b]) for i in p.get("per_image", []) if a in i["values"] and b in i["values"]]
        columns = np.array(pairs)
        if len(pairs) > 2 and (np.ptp(columns, axis=0) > 0).all():
            found.append(spearman(columns)[0, 1])
    return statistics.median(found) if found else None


def clusters(tree, names):
    """Groups of two and more measures that are linked by |rho| >= REDUNDANT, the largest first."""
    groups = {}
    for name, number in zip(names, hierarchy.fcluster(tree, 1 - REDUNDANT + 1e-9, "distance")):
        groups.setdefault(number, []).append(name)
    return sorted((g for g in groups.values() if len(g) > 1), key=lambda g: (-len(g), g))


def colour(rho):
    """White at 0, blue at 1, red at -1."""
    low, high = (255, 255, 255), (33, 102, 172) if rho > 0 else (178, 24, 43)
    return "#" + "".join(f"{round(a + abs(rho) * (b - a)):02x}" for a, b in zip(low, high))


def heat_map(rho, names, count):
    """The lower triangle; columns are named above the diagonal. Cells are unit squares, scaled."""
    cell, left, top = 14, 130, 130
    side = cell * len(names)
    width, height = left + side + 20, top + side + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="11">']
    out += [f"<title>Rank correlation of {len(names)} measures over {count} data sets</title>", f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for i, name in enumerate(names):
        middle = (i + 0.75) * cell
        out.append(f'<text x="{left - 5}" y="{top + middle:.1f}" text-anchor="end">{name}</text>')
        out.append(f'<text transform="translate({left + middle:.1f} {top + i * cell - 4}) rotate(-90)">{name}</text>')
    out.append(f'<g transform="translate({left} {top}) scale({cell})" stroke="#000000" stroke-width="0">')
    for i, j in itertools.product(range(len(names)), repeat=2):
        if j <= i:
            edge = ' stroke-width=".1"' if i != j and abs(rho[i, j]) >= REDUNDANT else ""
            out.append(f'<path d="M{j} {i}h1v1h-1z" fill="{colour(rho[i, j])}"{edge}/>')
    out.append("</g>")
    for k in range(9):
        x = left + k * 36
        out.append(f'<rect x="{x}" y="{top + side + 10}" width="36" height="10" fill="{colour(k / 4 - 1)}"/>')
        out.append(f'<text x="{x + 18}" y="{top + side + 34}" text-anchor="middle">{k / 4 - 1:+.2f}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def three_digits(value):
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def row(cells):
    return "| " + " | ".join(str(c) for c in cells) + " |"


def head(cells):
    return [row(cells), "|" + "---|" * len(cells)]


def ranking(profiles, names, table):
    first = profiles[0]["measures"]
    place = ranks(table, np.array([first[n]["larger_is_more_complex"] for n in names]))
    order = np.argsort(np.median(place, axis=1), kind="stable")
    sets = [profiles[i]["dataset"] for i in order]
    lines = ["## Ranks", "", "Rank of each data set's mean by each measure, 1 is the most complex in the sense of the measure (the arrow tells whether"]
    lines += ["large or small values count as complex). Columns are in the order of their median rank, which is no measure of its own: measures"]
    lines += ["that say the same are counted several times in it.", ""]
    lines += head(["measure", "complex is", *sets])
    for k, name in enumerate(names):
        arrow = "↑ large" if first[name]["larger_is_more_complex"] else "↓ small"
        lines.append(row([name, arrow, *(f"{place[i, k]:g}" for i in order)]))
    lines += ["", "Means:", ""] + head(["measure", *sets, "unit"])
    for k, name in enumerate(names):
        lines.append(row([name, *(three_digits(table[i, k]) for i in order), first[name]["unit"]]))
    return lines


def interval(rho, count):
    """95% interval of a rank correlation, by Fisher's z with the variance of Bonett and Wright (2000)."""
    half = 1.96 * np.sqrt((1 + rho**2 / 2) / (count - 3))
    return np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)


def significance(count):
    """Two-sided p of |rho| = REDUNDANT, and the |rho| of p = .05, by Student's t."""
    t = REDUNDANT * np.sqrt((count - 2) / (1 - REDUNDANT**2))
    limit = stats.t.ppf(0.975, count - 2)
    return 2 * stats.t.sf(t, count - 2), limit / np.sqrt(limit**2 + count - 2)


def redundancy(profiles, names, rho):
    count, number = len(profiles), len(names) * (len(names) - 1) // 2
    p, usual = significance(count)
    low, high = interval(REDUNDANT, count)
    pairs = [(a, b) for a, b in itertools.combinations(range(len(names)), 2) if abs(rho[a, b]) >= REDUNDANT]
    lines = ["## Which measures say the same", ""]
    lines += [f"Spearman's rank correlation rho between the means of {len(names)} measures over {count} data sets; {number} pairs, {len(pairs)} of them with"]
    lines += [f"|rho| at least {REDUNDANT}, which are listed as redundant.", ""]
    lines += [f"**n = {count}.** These are {count} points a pair, chosen to differ: of unrelated measures one pair in twenty has |rho| above {usual:.2f},"]
    lines += [f"about {number / 20:.0f} of the {number} pairs; |rho| of {REDUNDANT} and more would come by chance in {number * p:.2f} pairs. An observed {REDUNDANT} is compatible with"]
    lines += [f"a true correlation of {low:.2f} to {high:.2f} (95%). So the list tells what is redundant *among these data sets*; measures that differ within"]
    lines += ["one kind of image may rank the kinds alike, and a pair below the limit is not shown to be independent."]
    has_images = any(p.get("per_image") for p in profiles)
    if has_images:
        lines += ["\"Between images\" is the median over the data sets of the correlation between the images of one set: where it is low, the"]
        lines += ["two measures agree on kinds of images, not on images."]
    lines += ["", f"![Rank correlations of all measures]({NAME}.svg)", "", "Black frames are the pairs of the table. The order of the measures follows the clusters.", ""]
    lines += head(["measure", "measure", "rho", *(["between images"] if has_images else [])])
    for a, b in sorted(pairs, key=lambda p: (-abs(rho[p]), names[p[0]], names[p[1]])):
        inside = within(profiles, names[a], names[b]) if has_images else None
        cells = [names[a], names[b], f"{rho[a, b]:+.3f}"]
        lines.append(row(cells + (["-" if inside is None else f"{inside:+.2f}"] if has_images else [])))
    return lines


def note(groups, names, rho):
    lines = ["", "### Clusters", "", f"Single linkage on 1 - |rho|, cut at {1 - REDUNDANT:.1f}: two measures are in one cluster when a chain of redundant pairs"]
    lines += ["joins them, so the ends of a chain may correlate less (the smallest |rho| within each cluster is given). Of each cluster the"]
    lines += ["measure with the largest mean |rho| to the others stands for it best.", ""]
    for group in groups:
        at = [names.index(n) for n in group]
        inner = np.abs(rho[np.ix_(at, at)])
        central = group[int(np.argmax(inner.sum(0)))]
        pair = f"|rho| {inner.min():.2f}" if len(group) == 2 else f"smallest |rho| {inner.min():.2f}; nearest to all: {central}"
        lines.append(f"- {', '.join(group)} ({pair})")
    alone = sorted(set(names) - {n for g in groups for n in g})
    if not groups:
        lines.append("- none")
    lines += ["", f"Alone ({len(alone)}): {', '.join(alone) if alone else 'none'}. So the {len(names)} measures make {len(groups) + len(alone)} groups over these data sets."]
    return lines


def across_scales(profiles):
    """How alike a measure ranks the data sets at full size (or its first scale) and at coarser scales."""
    names = sorted(set.intersection(*(set(p["measures"]) for p in profiles)), key=lambda n: (n.split("@")[0], scale_of(n)))
    lines = ["", "## Scales", "", "Rank correlation of a measure at its first scale with itself at coarser scales, over the same data sets. Near 1 the coarser"]
    lines += ["scale ranks the data sets as the first does.", ""] + head(["measure", "first scale", "1/2", "1/4", "1/8", "1/16"])
    for base, group in itertools.groupby(names, lambda n: n.split("@")[0]):
        group = list(group)
        if len(group) < 2:
            continue
        rho = spearman(means(profiles, group))[0]
        found = {scale_of(n): f"{r:+.2f}" for n, r in zip(group[1:], rho[1:])}
        first = scale_of(group[0])
        lines.append(row([base, "1" if first == 1 else f"1/{first}", *(found.get(s, "") for s in (2, 4, 8, 16))]))
    return lines


def markdown(profiles, names, table, rho, groups):
    images = sum(p["images"] for p in profiles)
    first = profiles[0]
    lines = ["# Data sets ranked by complexity", ""]
    lines += [f"Generated by `benchmarks/complexity/ranking.py` from the profiles of {len(profiles)} data sets ({images} images, split {first['split']},"]
    lines += [f"{first['input']['mode']} to {first['input']['size']} x {first['input']['size']} pixels; segfit {first['version']}). Values are means over the images of a data set, at scale 1 or the"]
    lines += ["first scale that a measure has.", ""]
    lines += ranking(profiles, names, table) + [""] + redundancy(profiles, names, rho) + note(groups, names, rho) + across_scales(profiles)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profiles", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "docs", help="folder of the two files")
    args = parser.parse_args()
    profiles = sorted((json.loads(p.read_text()) for p in args.profiles), key=lambda p: p["dataset"])
    if len(profiles) < 4 or len({(p["split"], json.dumps(p["input"]), p["version"]) for p in profiles}) > 1:
        sys.exit("needs at least 4 profiles, made by the same version with the same split and input")
    names = main_measures(profiles)
    table = means(profiles, names)
    rho = spearman(table)
    tree = hierarchy.linkage(squareform(1 - np.abs(rho), checks=False), "single")
    order = hierarchy.leaves_list(hierarchy.optimal_leaf_ordering(tree, squareform(1 - np.abs(rho), checks=False)))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{NAME}.md").write_text(markdown(profiles, names, table, rho, clusters(tree, names)))
    (args.out / f"{NAME}.svg").write_text(heat_map(rho[np.ix_(order, order)], [names[i] for i in order], len(profiles)))


if __name__ == "__main__":
    main()
