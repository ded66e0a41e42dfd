"""The jet foundation model OmniLearned (arXiv:2510.24066), and tools to train and apply it.

This file imports nothing, to avoid a cycle: `tools.events` reads files into `jets.Jets`, and the tools here read files
with `tools.events`.
"""
