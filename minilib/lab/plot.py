"""One house style: labelled axes, colour-blind-safe colours, one message per figure.

Every helper returns the axes; `show` ends the cell and says in words what is to be seen.
"""

import builtins
import html

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# Okabe & Ito's palette, darkest first; dash and marker tell lines apart without colour
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442"]
DASHES = ["-", "--", "-.", ":"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def _numpy(values):
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _axes(axes, title, x, y, size=(6, 3.2)):
    axes = axes or plt.subplots(figsize=size, layout="constrained")[1]
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def curves(
    lines: dict,
    *,
    x: str,
    y: str,
    title: str,
    log: str = "",
    markers: bool = False,
    axes: Axes | None = None,
) -> Axes:
    """Lines, each labelled at its end. lines: {label: (xs, ys)}, "" for no label.

    log names the axes with a logarithmic scale: "x", "y" or "xy".
    """
    axes = _axes(axes, title, x, y)
    ends = []
    for i, (label, (xs, ys)) in enumerate(lines.items()):
        xs, ys = _numpy(xs), _numpy(ys)
        style = {
            "color": COLOURS[i % 8],
            "linestyle": DASHES[i % 4],
            "marker": MARKERS[i % 8] if markers or len(xs) == 1 else None,
            "markersize": 4,
        }
        axes.plot(xs, ys, **style)
        ends.append((xs[-1], ys[-1], label, style["color"]))
    for name in log:
        getattr(axes, f"set_{name}scale")("log")
    _label_ends(axes, ends)
    return axes


def _label_ends(axes, ends):
    """Write each label to the right of its line's end, pushed apart where they would overlap."""
    axes.figure.canvas.draw()
    spots = sorted(
        (axes.transData.transform((x, y))[1], x, y, label, colour) for x, y, label, colour in ends
    )
    last, gap = -np.inf, 12 * axes.figure.dpi / 72
    for pixel, x, y, label, colour in spots:
        target = max(pixel, last + gap)
        offset = (target - pixel) * 72 / axes.figure.dpi
        place = {"xytext": (6, offset), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(label, (x, y), color=colour, va="center", **place)
        last = target


def heatmap(
    values,
    *,
    x: str,
    y: str,
    value: str,
    title: str,
    centred: bool = False,
    x_ticks=None,
    y_ticks=None,
    axes: Axes | None = None,
) -> Axes:
    """A matrix as colours, row 0 on top.

    centred  a diverging map with white at zero
    ticks    labels of the columns and rows, such as letters
    """
    values = _numpy(values)
    axes = _axes(axes, title, x, y, size=(4.8, 3.6))
    limit = np.abs(values).max()
    style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if centred else {"cmap": "viridis"}
    image = axes.imshow(values, aspect="auto", interpolation="nearest", **style)
    axes.figure.colorbar(image, ax=axes, label=value)
    for labels, axis in ((x_ticks, axes.xaxis), (y_ticks, axes.yaxis)):
        if labels is not None:
            axis.set_ticks(range(len(labels)), labels)
    return axes


def bars(
    heights: dict[str, float], *, y: str, title: str, x: str = "", axes: Axes | None = None
) -> Axes:
    """Bars, each with its value, lying down so that labels can be read.

    heights  {label: number}, in units of y; x names the labels
    """
    axes = _axes(axes, title, y, x, size=(6, 0.5 + 0.34 * len(heights)))
    places = axes.barh(list(heights), list(heights.values()), color=COLOURS[0])
    axes.bar_label(places, fmt="%.3g", padding=3)
    axes.invert_yaxis()
    return axes


def pen(
    lines: dict,
    *,
    title: str,
    x: str = "x (typical offsets)",
    y: str = "",
    axes: Axes | None = None,
) -> Axes:
    """Handwriting, one line below the other, in equal scale.

    lines  {label: strokes, each (points, 2)}; y names the labels
    """
    lines = {label: [_numpy(stroke) for stroke in strokes] for label, strokes in lines.items()}
    places = [np.concatenate(strokes) for strokes in lines.values()]
    width = max(np.ptp(place[:, 0]) for place in places)
    tall = 1.1 * max(np.ptp(place[:, 1]) for place in places) + 1
    inch = min(8 / width, 0.8 / tall)  # of a unit: lines fill the width, but are never very high
    axes = _axes(axes, title, x, y, size=(max(width * inch, 3) + 1, tall * inch * len(lines) + 0.8))
    for row, strokes in enumerate(lines.values()):
        for stroke in strokes:
            dot = {"marker": ".", "markersize": 2} if len(stroke) == 1 else {}
            style = {"color": "black", "linewidth": 1.1, "solid_capstyle": "round", **dot}
            axes.plot(stroke[:, 0], stroke[:, 1] - row * tall, **style)
    axes.set_yticks([-row * tall for row in range(len(lines))], [str(label) for label in lines])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    return axes


def diagram(
    boxes: dict[str, tuple],
    arrows: list[tuple],
    *,
    title: str,
    axes: Axes | None = None,
) -> Axes:
    """A mechanism as boxes and arrows: a cell with its gates, a graph, who sees whom.

    boxes   {text: (x, y)} or {text: (x, y, colour)}, colour a place in COLOURS; one unit is about
            an inch. What follows a "|" is not shown: it tells boxes of the same text apart
    arrows  (from, to), (from, to, label) or (from, to, label, bend): names of boxes; bend 0.3 is
            an arc to the left of its way, -0.3 to the right
    """
    places = np.array([box[:2] for box in boxes.values()], float)
    margin = np.array([0.7, 0.5])
    low, high = places.min(0) - margin, places.max(0) + margin
    axes = _axes(axes, title, "", "", size=high - low + np.array([0, 0.3]))
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.axis("off")
    drawn = {}
    for name, (x, y, *colour) in boxes.items():
        edge = COLOURS[colour[0]] if colour else "black"
        frame = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": edge}
        style = {"ha": "center", "va": "center", "fontsize": 10, "zorder": 3}
        drawn[name] = axes.text(x, y, name.partition("|")[0], bbox=frame, **style)
    axes.figure.canvas.draw()  # boxes know their size now, and arrows stop at their edges
    for start, end, *more in arrows:
        label = more[0] if more else ""
        bend = more[1] if len(more) > 1 else 0.0
        line = {
            "arrowstyle": "-|>",
            "color": "#555555",
            "connectionstyle": f"arc3,rad={-bend}",
            "patchA": drawn[start].get_bbox_patch(),
            "patchB": drawn[end].get_bbox_patch(),
        }
        here, there = (np.array(drawn[name].get_position()) for name in (start, end))
        axes.annotate("", there, here, arrowprops=line)
        if label:
            way = there - here
            middle = (here + there) / 2 + bend / 2 * np.array([-way[1], way[0]])
            frame = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
            axes.text(*middle, label, ha="center", va="center", fontsize=8, bbox=frame)
    return axes


def show(alt: str) -> None:
    """Show the open figures, each with a text for readers who do not see it.

    alt  what the picture shows, in a sentence or two: its message and the numbers that carry it
    Raises ValueError for an empty text.
    """
    if not alt.strip():
        raise ValueError("alt must say what the picture shows, got an empty text")
    if not hasattr(builtins, "__IPYTHON__"):  # no notebook: a window of its own, or nothing
        plt.show()
        return
    from IPython.display import display

    for number in plt.get_fignums():
        display(plt.figure(number), metadata={"image/png": {"alt": " ".join(alt.split())}})
    plt.close("all")


class _Html(str):
    """A string that a notebook shows as HTML."""

    _repr_html_ = str.__str__


_BOX = (
    "border:1px solid #333;border-radius:3px;padding:0 1px;margin:1px 0;color:#000;"
    "display:inline-block;line-height:1.3;background:"
)
_VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"})


def tokens(pieces: list[bytes], title: str = "") -> str:
    """A text's tokens, each in a box of its own, for the notebook to show.

    pieces  list of byte strings, such as [tokenizer.decode([i]) for i in ids]

    Neighbours differ in shade, and every token has a border: no colour need be told apart. Blanks
    show as ␣, newlines as ↵, bytes that are no character by themselves as their hexadecimal number.
    Hovering shows the bytes.
    """
    boxes = []
    for i, piece in enumerate(pieces):
        try:
            text = piece.decode().translate(_VISIBLE)
        except UnicodeDecodeError:
            text = " ".join(f"{byte:02X}" for byte in piece)
        hover, shade = html.escape(repr(piece)), ("#cfe8fa", "#fdebc8")[i % 2]
        newline = "<br>" if piece.endswith(b"\n") else ""
        boxes.append(
            f'<span title="{hover}" style="{_BOX}{shade}">{html.escape(text)}</span>{newline}'
        )
    head = f"<b>{html.escape(title)}</b><br>" if title else ""
    return _Html(f'<div style="font-family:monospace">{head}{"".join(boxes)}</div>')


def shaded(text: str, values, *, title: str = "", low: str = "", high: str = "") -> str:
    """A text whose characters are coloured by a number, for the notebook to show.

    values  one number a character; blue below zero, orange above, white at zero
    low, high  what the two ends of the scale mean
    Raises ValueError if there are not as many values as characters.
    """
    values = _numpy(values)
    if values.shape != (len(text),):
        raise ValueError(f"values must be one number a character ({len(text)}), got {values.shape}")
    strength = values / (np.abs(values).max() or 1)
    spans = []
    for character, x, value in zip(text, strength, values, strict=True):
        colour = "213,94,0" if x > 0 else "0,114,178"
        shown = "↵<br>" if character == "\n" else html.escape(character).replace(" ", "&nbsp;")
        style = f"background:rgba({colour},{0.8 * abs(x):.2f})"
        spans.append(f'<span title="{value:.3g}" style="{style}">{shown}</span>')
    ends = [("0,114,178", low), ("213,94,0", high)]
    legend = " ".join(
        f'<span style="background:rgba({colour},0.8)">&nbsp;{html.escape(name)}&nbsp;</span>'
        for colour, name in ends
        if name
    )
    page = "font-family:monospace;line-height:1.4;color:#000;background:#fff"
    head = f"<b>{html.escape(title)}</b> {legend}<br>" if title or legend else ""
    return _Html(f'<div style="{page}">{head}{"".join(spans)}</div>')
