"""Sessions as files that other tools open: CSV, Parquet, netCDF."""

from procedures.export.run import export_session

__all__ = ["export_session"]
