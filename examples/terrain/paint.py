"""Executor "paint": puts the bands of the C++ tasks together and draws the picture."""

from __future__ import annotations

import io

import numpy as np
from rain import tasklib

executor = tasklib.Executor("paint")


@executor.task
def assemble(ctx: tasklib.Context, *bands: tasklib.DataInstance) -> np.ndarray:
    """Bands of rows of one grid, from north to south -> the whole grid, in shared memory."""
    views = [np.frombuffer(band) for band in bands]
    grid = ctx.empty(sum(view.size for view in views))
    np.concatenate(views, out=grid)
    return grid


@executor.task
def draw(
    ctx: tasklib.Context,
    elevation: tasklib.DataInstance,
    slope: tasklib.DataInstance,
    hillshade: tasklib.DataInstance,
) -> tasklib.DataInstance:
    """Three grids -> a PNG: hillshade blended with elevation, a scale, and the slope beside it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import LightSource

    shape = (ctx.config["rows"], ctx.config["columns"])
    width_km, height_km = ctx.config["width_km"], ctx.config["height_km"]
    metres = np.frombuffer(elevation).reshape(shape)
    shade = np.frombuffer(hillshade).reshape(shape)
    steepness = np.degrees(np.frombuffer(slope).reshape(shape))

    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 6.2), layout="constrained")
    extent = (0.0, width_km, 0.0, height_km)

    colours = plt.get_cmap("gist_earth")
    scale = plt.Normalize(metres.min() - 150, metres.max() + 250)
    rgb = colours(scale(metres))[:, :, :3]
    blended = LightSource().blend_soft_light(rgb, shade[:, :, np.newaxis])
    left.imshow(blended, extent=extent)
    mappable = plt.cm.ScalarMappable(scale, colours)
    bar = figure.colorbar(mappable, ax=left, label="elevation (m)", shrink=0.85)
    bar.ax.set_ylim(metres.min(), metres.max())
    left.set_title("Elevation, shaded")

    image = right.imshow(steepness, extent=extent, cmap="magma")
    figure.colorbar(image, ax=right, label="slope (degrees)", shrink=0.85)
    right.set_title("Slope")
    for axes in (left, right):
        axes.set_xlabel("km")
    left.set_ylabel("km")
    figure.suptitle(ctx.config["title"])

    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    plt.close(figure)
    return ctx.blob(png.getbuffer(), content_type="mime/image/png")


executor.start()
