"""The jet foundation model OmniLearned (arXiv:2510.24066) and what a user needs around it.

Nothing is imported here: `tools.events` reads files into `jets.Jets`, and the verbs read files with `tools.events`.
"""
