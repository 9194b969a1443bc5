# SPDX-License-Identifier: Apache-2.0
"""Tokens on a matplotlib axes."""

from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from .outline import extent
from .overlay import PALETTE, details, steps
from .reconstruct import coarse_first, corners


def draw(axes, tokens, image=None, *, index=0, gaze_uv=(), line=0.8, legend=False):
    """Draws the tokens of one image into an axes, in px of the image, y down.

    Args:
        axes: matplotlib.axes.Axes.
        tokens: foveate.Tokens or foveate.Layout.
        image: drawn below them, or None.
        index: which image of the batch.
        gaze_uv: (x, y) points in 0..1, drawn as crosses.
        line: width of the outlines, points.
        legend: a legend of px per texel and counts.

    Returns:
        axes.
    """
    if image is not None:
        height, width = image.shape[:2]
        axes.imshow(image, extent=(0, width, height, 0), cmap="gray" if image.ndim == 2 else None)
    else:
        height, width = tokens.sizes[index] if hasattr(tokens, "sizes") else extent(tokens, index)
    groups, box = steps(tokens, index)[1], corners(tokens, index)
    order = coarse_first(tokens, index)
    for group, step, count in reversed(details(tokens, index)):
        shapes = [Rectangle(box[i, :2], *(box[i, 2:] - box[i, :2])) for i in order if groups[i] == group]
        axes.add_collection(PatchCollection(shapes, facecolor="none", linewidth=line,
                                            edgecolor=PALETTE[group % len(PALETTE)],
                                            label=f"{step:.3g} px a texel: {count}"))
    for x, y in gaze_uv:
        for size, ink, weight in ((11, "black", 3.4), (10, "white", 1.6)):
            axes.plot(x * width, y * height, marker="+", markersize=size, color=ink, markeredgewidth=weight)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    if legend:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3, frameon=False)
    return axes
