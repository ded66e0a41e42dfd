"""The price of a model's tokens."""

from __future__ import annotations

from pydantic import Field

from tools.contract import Frozen


class Price(Frozen):
    """Dollars per million tokens, as services quote them.

    >>> Price.parse("0.25,2").dollars(prompt_tokens=1_000_000, completion_tokens=500_000)
    1.25
    """

    prompt: float = Field(ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(None, ge=0, allow_inf_nan=False, description="price of cached prompt tokens")

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read `IN,OUT` or `IN,OUT,CACHED`."""
        try:
            prompt, completion, *cached = map(float, text.split(","))
            return cls(prompt=prompt, completion=completion, cached=_only(cached))
        except ValueError:
            raise ValueError(
                f"price: {text!r} is not IN,OUT or IN,OUT,CACHED: dollars per million prompt, completion and cached "
                "prompt tokens, e.g. 0.25,2,0.025"
            ) from None

    def dollars(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Return the cost of tokens; cached ones are part of the prompt's, at their own price if there is one."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        return (self.prompt * fresh + cached * cached_tokens + self.completion * completion_tokens) / 1e6


def _only(values: list[float]) -> float | None:
    """Return the only value, or None if there is none. Raises ValueError for more."""
    if len(values) > 1:
        raise ValueError(values)
    return values[0] if values else None
