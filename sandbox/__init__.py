"""Runs a command behind walls and hands back files; knows no physics."""
