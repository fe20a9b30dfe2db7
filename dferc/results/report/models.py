"""Figures of what the analyses saw inside trained models: votes, silhouettes, t-SNE, missing modalities."""

from collections.abc import Iterator, Mapping, Sequence

from dferc.results.report.figures import Figure, View, plain
from dferc.results.report.marks import LOOKS, SCORES, SHARE, WORDS, caption_of, lying, points, quantity
from dferc.results.report.summary import Basis

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down")


def model_figures(found: Mapping, basis: Basis) -> Iterator[Figure]:
    """Those for which there are data, in the order of the report."""
    for maker in (_votes, _silhouette, _tsne, _subsets, _random):
        yield from maker(found, basis)


def _votes(found: Mapping, basis: Basis) -> Iterator[Figure]:
    votes, run = found["context"]["votes"], found["run"]
    if votes:
        x = [f"{each['agreeing']} agree" for each in votes]
        looks = {"accuracy": SCORES["accuracy"], "weight": ("--c4", "square"), "share": ("--c8", "x")}
        names = {"accuracy": "accuracy", "weight": "context weight", "share": "share of utterances"}
        lines = [
            points(names[key], x, votes, key)
            | {"line": {"color": colour, "width": 2}, "marker": {"color": colour, "symbol": symbol, "size": 9}}
            for key, (colour, symbol) in looks.items()
        ]
        layout = {"yaxis": {"rangemode": "tozero"}}
        title = "Accuracy and context weight by how many modalities name the same class"
        yield Figure("votes", title, [View("", lines, layout, caption_of(found, "context", basis, run))])


def _silhouette(found: Mapping, basis: Basis) -> Iterator[Figure]:
    silhouette = found["geometry"]["silhouette"]
    if silhouette:
        levels = [plain(level.replace("_", " ")) for level in silhouette]
        looks = {"by_modality": ("--c1", "circle"), "by_utterance": ("--c2", "diamond")}
        dots = [
            points(WORDS[key], levels, list(silhouette.values()), key, mode="markers")
            | {"marker": {"color": colour, "symbol": symbol, "size": 11}}
            for key, (colour, symbol) in looks.items()
        ]
        layout = {"yaxis": quantity("silhouette", rangemode="tozero"), "scattermode": "group"}
        caption = caption_of(found, "geometry", basis, found["run"])
        yield Figure("silhouette", "Silhouette before and after disentanglement", [View("", dots, layout, caption)])


def _tsne(found: Mapping, basis: Basis) -> Iterator[Figure]:
    tsne = found["geometry"]["tsne"]
    if tsne:
        views = []
        said = f"Shown is seed {tsne['seed']} alone; axes and distances between clusters mean nothing."
        caption = caption_of(found, "geometry", basis, found["run"], said)
        blank = {"showticklabels": False, "showgrid": False, "zeroline": False}
        layout = {"height": 520, "xaxis": blank, "yaxis": blank | {"scaleanchor": "x"}}
        for level, place in tsne["levels"].items():
            for by, colours in (("modality", found["modalities"]), ("emotion", found["classes"])):
                traces = list(_clouds(tsne, place, by, colours))
                views.append(View(f"{level.replace('_', ' ')}, by {by}", traces, layout, caption))
        yield Figure("tsne", "t-SNE of the features", views, "Features")


def _clouds(tsne: Mapping, place: Mapping, by: str, names: Sequence[str]) -> Iterator[dict]:
    for number, name in enumerate(names):
        at = [row for row, each in enumerate(tsne[by]) if each == name]
        said = (f"{tsne['utterance_id'][row]}, {tsne['modality'][row]}, {tsne['emotion'][row]}" for row in at)
        colour = LOOKS[name][0] if by == "modality" else f"--c{number % 8 + 1}"
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": plain(name),
            "x": [place["x"][row] for row in at],
            "y": [place["y"][row] for row in at],
            "text": [plain(each) for each in said],
            "hoverinfo": "text",
            "marker": {"color": colour, "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 6, "opacity": 0.75},
        }


# ---------------------------------------------------------------------------------------------------- missing


def _subsets(found: Mapping, basis: Basis) -> Iterator[Figure]:
    subsets = found["missing"]["subsets"]
    if subsets:
        names = [" + ".join(each["modalities"]) for each in subsets]
        dots = [lying(points(WORDS.get(key, key), names, subsets, key, mode="markers")) for key in SCORES]
        caption = caption_of(found, "missing", basis, found["run"])
        layout = {"xaxis": SHARE, "yaxis": {"autorange": "reversed"}, "scattermode": "group"}
        title = "One trained model, given each subset of the modalities"
        yield Figure("subsets", title, [View("", dots, layout, caption)])


def _random(found: Mapping, basis: Basis) -> Iterator[Figure]:
    random = found["missing"]["random"]
    if random:
        x = [each["rate"] for each in random]
        lines = [points(WORDS.get(key, key), x, random, key) for key in SCORES]
        layout = {"xaxis": quantity("share of modalities taken away at random", tickformat=".0%"), "yaxis": SHARE}
        caption = caption_of(found, "missing", basis, found["run"], f"{found['missing']['draws']} draws per share.")
        yield Figure("random", "Modalities absent at random", [View("", lines, layout, caption)])
