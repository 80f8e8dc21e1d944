"""A bench of instruments that are not there: SCPI servers on loopback TCP with one simulated ring behind them."""
