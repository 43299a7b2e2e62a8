"""What commands and a terminal do to each other: text, streams, Ctrl-C."""
