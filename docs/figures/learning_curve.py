"""Draw the learning curve of a session: python docs/figures/learning_curve.py FILE.h5 FIGURE.png."""

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pyqtgraph as pg
from pyqtgraph.exporters import ImageExporter

from labpgt.events import Purpose
from labpgt.session import Session

SMOOTHING = 64
BLUE, ORANGE, GREY, BLACK = (0, 114, 178), (213, 94, 0), (140, 140, 140), (30, 30, 30)


def draw(path: Path, figure: Path) -> None:
    """Plot every training shot's loss, the epochs and the baselines, and the responses of a few shots."""
    with Session(path) as session:
        rows = np.concatenate([block[block["purpose"] == Purpose.TRAIN] for block in session.iter_shots()])
        epochs, results, device = session.epochs(), session.results, session.device
    app = pg.mkQApp()
    pg.setConfigOptions(background="w", foreground=BLACK, antialias=True)
    layout = pg.GraphicsLayoutWidget()
    layout.resize(1200, 430)
    layout.show()

    loss = layout.addPlot(title=f"{path.stem}: {device}")
    loss.setLabel("bottom", "training shots")
    loss.setLabel("left", "mean squared error")
    loss.setLogMode(y=True)
    loss.addLegend(offset=(-10, 10))
    shots = np.arange(1, len(rows) + 1)
    loss.plot(shots, rows["loss"], pen=None, symbol="o", symbolSize=2, symbolPen=None, symbolBrush=(*GREY, 90))
    mean = np.convolve(rows["loss"], np.ones(SMOOTHING) / SMOOTHING, "valid")
    loss.plot(shots[SMOOTHING - 1 :], mean, pen=pg.mkPen(BLUE, width=2), name=f"mean of {SMOOTHING} shots")
    for column, colour, name in (("train_loss", BLUE, "training part"), ("test_loss", ORANGE, "test part")):
        loss.plot(epochs["shots"], epochs[column], pen=None, symbol="o", symbolSize=10, symbolBrush=colour, name=name)
    for key, name in (("prior_loss", "class prior"), ("readout_only_loss", "readout only")):
        if key in results:
            line = pg.InfiniteLine(
                np.log10(results[key]),
                angle=0,
                pen=pg.mkPen(BLACK, style=pg.QtCore.Qt.PenStyle.DashLine),
                label=f"{name} {results[key]:.3f}",
                labelOpts={"position": 0.75, "color": BLACK, "anchors": [(0.5, 1.0), (0.5, 1.0)]},
            )
            loss.addItem(line)
    loss.setYRange(-3, 1)

    response = layout.addPlot(title="the first two pairs: response of the ring")
    response.setLabel("bottom", "node")
    response.setLabel("left", "envelope (full scale)")
    response.getAxis("left").enableAutoSIPrefix(False)
    response.setYRange(0, 0.9)
    response.addLegend(offset=(10, 10))
    for row, colour, name in zip(
        rows[:4],
        (BLUE, BLUE, ORANGE, ORANGE),
        ("sample 1, + delta", "- delta", "sample 2, + delta", "- delta"),
        strict=True,
    ):
        style = pg.QtCore.Qt.PenStyle.SolidLine if row["sign"] > 0 else pg.QtCore.Qt.PenStyle.DashLine
        response.plot(row["response"].ravel(), pen=pg.mkPen(colour, width=2, style=style), name=name)
    app.processEvents()
    exporter = ImageExporter(layout.scene())
    exporter.parameters()["width"] = 1200
    exporter.export(str(figure))


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
