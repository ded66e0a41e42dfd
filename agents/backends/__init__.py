"""Backends: language models behind an OpenAI-compatible service or in this process, and the built-in analyst."""
