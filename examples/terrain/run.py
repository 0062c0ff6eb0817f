"""Slope and hillshade of real terrain: C++ tasks compute, Python tasks assemble and draw."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path

import matplotlib.cbook
import numpy as np
from rain.client import Client, DataObject, Task, blob

HERE = Path(__file__).resolve().parent
BANDS = 8
AZIMUTH, ALTITUDE = np.radians(315), np.radians(45)  # of the sun: north-west, half way up


class Band(Task):
    """One C++ task: slope or hillshade of the rows from `first_row` to before `last_row`."""

    def __init__(self, kind: str, grid: DataObject, config: dict, first_row: int, last_row: int):
        super().__init__(
            inputs=(grid,),
            outputs=1,
            task_type=f"terrain/{kind}",
            config={**config, "first_row": first_row, "last_row": last_row},
            name=f"{kind} {first_row}..{last_row}",
        )


class Assemble(Task):
    """Python: bands from north to south -> one grid."""

    TASK_TYPE = "paint/assemble"

    def __init__(self, bands: list[Band], name: str):
        super().__init__(inputs=bands, outputs=1, name=name)


class Draw(Task):
    """Python: three grids -> PNG."""

    TASK_TYPE = "paint/draw"

    def __init__(self, elevation: DataObject, slope: Task, hillshade: Task, config: dict):
        super().__init__(inputs=(elevation, slope, hillshade), outputs=1, config=config)


def load_terrain() -> tuple[np.ndarray, float, float]:
    """Elevation in metres; metres between its columns, and between its rows."""
    path = matplotlib.cbook.get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)
    with np.load(path) as terrain:
        elevation = terrain["elevation"].astype(np.float64)
        metres_per_degree = 111_200
        dx = metres_per_degree * float(terrain["dx"]) * np.cos(np.radians(float(terrain["ymin"])))
        dy = metres_per_degree * float(terrain["dy"])
    return elevation, float(dx), float(dy)


def plain_numpy(elevation: np.ndarray, dx: float, dy: float) -> tuple[np.ndarray, np.ndarray]:
    """The same slope and hillshade without tasks, to compare with."""
    south, east = np.gradient(elevation, dy, dx)
    slope = np.arctan(np.hypot(east, south))
    toward_sun = np.array(
        [
            np.sin(AZIMUTH) * np.cos(ALTITUDE),
            -np.cos(AZIMUTH) * np.cos(ALTITUDE),
            np.sin(ALTITUDE),
        ]
    )
    normal = np.stack([-east, -south, np.ones_like(east)])
    normal /= np.linalg.norm(normal, axis=0)
    return slope, np.clip(np.tensordot(toward_sun, normal, axes=1), 0, None)


def print_tasks(client: Client) -> None:
    """One line a task: what ran where, for how long, and what it returned."""
    print(f"{'task':<20} {'language':<8} {'process':>8} {'ms':>8} {'bytes':>10}")
    for task in client.report():
        print(
            f"{task.task_type:<20} {task.language:<8} {task.process:>8} "
            f"{task.seconds * 1e3:>8.2f} {task.output_bytes:>10,}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--executors-dir",
        type=Path,
        default=HERE.parent.parent / "build" / "examples" / "terrain",
        help="where CMake built terrain and copied executors.toml (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, help="where terrain.png goes (default: the executors' directory)"
    )
    arguments = parser.parse_args()
    output: Path = arguments.output or arguments.executors_dir
    # "python3" in executors.toml is the interpreter that runs this program.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    elevation, dx, dy = load_terrain()
    rows, columns = elevation.shape
    print(
        f"elevation: {rows} x {columns} points, {elevation.min():.0f} to {elevation.max():.0f} m, "
        f"{BANDS} bands"
    )
    config = {"rows": rows, "columns": columns, "dx": dx, "dy": dy}
    sun = {"azimuth": float(AZIMUTH), "altitude": float(ALTITUDE)}
    picture = {
        "rows": rows,
        "columns": columns,
        "width_km": columns * dx / 1000,
        "height_km": rows * dy / 1000,
        "title": "Jacksboro fault, Tennessee",
    }
    edges = np.linspace(0, rows, BANDS + 1).astype(int).tolist()
    bands = list(itertools.pairwise(edges))

    client = Client(config=arguments.executors_dir / "executors.toml", record=True)
    with client.new_session("terrain") as session:
        grid = blob(elevation.tobytes(), label="elevation")  # sent once, read by all
        slope = Assemble([Band("slope", grid, config, *band) for band in bands], "slope")
        hillshade = Assemble(
            [Band("hillshade", grid, {**config, **sun}, *band) for band in bands], "hillshade"
        )
        drawing = Draw(grid, slope, hillshade, picture)
        for task in (slope, hillshade, drawing):
            task.output.keep()
        session.submit()

        output.mkdir(parents=True, exist_ok=True)
        path = output / "terrain.png"
        path.write_bytes(drawing.output.fetch().get_bytes())
        computed = [
            np.frombuffer(t.output.fetch()).reshape(rows, columns) for t in (slope, hillshade)
        ]
        print_tasks(client)

        expected = plain_numpy(elevation, dx, dy)
        difference = max(
            float(np.abs(a - b).max()) for a, b in zip(computed, expected, strict=True)
        )
        print(f"slope: up to {np.degrees(computed[0].max()):.1f} degrees")
        print(f"picture: {path}")
    client.close()

    if not difference <= 1e-9:
        print(f"differs from plain numpy by {difference:g}, more than 1e-9", file=sys.stderr)
        return 1
    print("equal to plain numpy to 1e-9")
    return 0


if __name__ == "__main__":
    sys.exit(main())
