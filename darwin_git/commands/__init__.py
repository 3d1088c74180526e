"""One command, one function: plain values in, data out; printing is the command line's."""
