"""The commands of the command line, each with what it imports inside: `labpgt --help` answers at once."""
