"""Sessions and results: statements in, rows out, with the connection borrowed and given back on the way."""
