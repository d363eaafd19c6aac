"""Mutation of the Python modules that decide something: see :mod:`tools.mutation.__main__`."""
