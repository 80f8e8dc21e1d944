"""What people run: training, showing, replaying, and the command line over them."""
