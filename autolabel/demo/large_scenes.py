"""Drawn scenes too large for one look: cells of objects side by side on one ground, none across a border of cells."""

import numpy as np

from autolabel.demo.scenes import Scene, developed, ground, paint, place, some_kinds

CELL_PX = 500
DIAMETERS_PX = (40, 160)  # of an object
ATTEMPTS = 30
CELL_OBJECTS = (2, 7)


def draw_large_scene(seed: int, index: int, n_cells: int) -> Scene:
    """Draw a scene of n x n cells; each, cut out, is a scene for one look, with nothing cut off."""
    rng = np.random.default_rng([seed, index, n_cells])
    side = n_cells * CELL_PX
    picture, ids = ground(rng, side, side), np.zeros((side, side), np.uint16)
    kinds = []
    for top in range(0, side, CELL_PX):
        for left in range(0, side, CELL_PX):
            cell = slice(top, top + CELL_PX), slice(left, left + CELL_PX)
            in_cell, areas = np.zeros((CELL_PX, CELL_PX), np.uint8), list[int]()
            n_objects = int(rng.integers(*CELL_OBJECTS))
            for kind in some_kinds(rng, n_objects)[:n_objects]:
                radius_px = rng.uniform(*DIAMETERS_PX) / 2
                for _ in range(ATTEMPTS):
                    placed = place(rng, kind.shape, radius_px, in_cell, areas, may_touch=False)
                    if placed and placed.solid.sum() == placed.full_area:
                        paint(rng, picture[cell], kind, radius_px, placed)
                        kinds.append(kind)
                        areas.append(placed.full_area)
                        in_cell[placed.rows, placed.columns][placed.solid] = len(areas)
                        ids[cell][placed.rows, placed.columns][placed.solid] = len(kinds)
                        break
    return Scene(rgb=developed(rng, picture), ids=ids, kinds=tuple(kinds))
