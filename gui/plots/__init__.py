"""Plots that several pages share: curves with cursors and export, pictures, and the drive and response of a shot."""

from gui.plots.curves import Curve, Line, Shape
from gui.plots.image import ImagePlot
from gui.plots.plot import Plot
from gui.plots.shot import ShotPlot

__all__ = ["Curve", "ImagePlot", "Line", "Plot", "Shape", "ShotPlot"]
