"""Connectors: how a pool opens, checks, cleans and closes the connections of each driver."""
