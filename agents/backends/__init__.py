"""Who answers: language models behind an OpenAI-compatible service, or the built-in analyst."""
