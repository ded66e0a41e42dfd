"""A llama.cpp model in this process: tokens in, tokens out, reproducibly for the same request.

This is the only file that imports llama_cpp. The state for the beginning of a prompt is reused for prompts with the
same beginning, but only in whole chunks that were computed as parts of a prompt: each chunk is always computed from the
same tokens in one piece, so rounding, and hence the reply, does not depend on earlier requests.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 128  # tokens
CONTEXT = 8192  # tokens, prompt and reply; more than that takes minutes on a CPU
KEPT = 4  # conversations, besides the last one, whose beginnings are kept in memory
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data
REMEMBERED = 64  # latest tokens that are penalised
PENALTY = 2.0  # subtracted from the logits of tokens just written, or a small model repeats itself
RESERVE = 4  # the last quarter of the tokens is for closing open strings, lists and objects
HURRY = 1000.0  # added to the logits of closing tokens
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
SHORT_LIST = 256  # likeliest tokens, tried before the whole vocabulary


@dataclass(frozen=True)
class Generated:
    """Generated text. `ended`: the model ended it; otherwise it was cut off."""

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True)
class _Kept:
    """Whole chunks of a prompt, and llama.cpp's state for them."""

    tokens: tuple[int, ...]
    state: Any


class Engine:
    """One loaded model; calls from several threads wait for each other."""

    def __init__(self, path: Path, threads: int) -> None:
        import llama_cpp

        self._api: Any = llama_cpp
        llama_cpp.llama_log_set(_silent(llama_cpp), ctypes.c_void_p(0))
        try:
            self._llama = llama_cpp.Llama(
                str(path),
                n_ctx=CONTEXT,
                n_batch=CHUNK,
                n_ubatch=CHUNK,
                n_threads=threads,
                n_threads_batch=threads,
                swa_full=True,  # else prompts cannot share their beginnings
                verbose=False,
            )
        except ValueError as error:
            raise ValueError(f"backend: local:{path} cannot be loaded: {error}") from None
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._llama.model)
        self.context = min(CONTEXT, llama_cpp.llama_model_n_ctx_train(self._llama.model))
        # llama.cpp saves only the part of a sliding window that the next token sees: useless for another prompt.
        self._can_keep = llama_cpp.llama_model_n_swa(self._llama.model) == 0
        self._lock = threading.Lock()
        self._filled: tuple[int, ...] = ()  # whole chunks of the last prompt
        self._kept: list[_Kept] = []  # newest last

    @property
    def template(self) -> str | None:
        """The model's own chat template (Jinja)."""
        template: str | None = self._llama.metadata.get("tokenizer.chat_template")
        return template

    def chat(self, messages: Sequence[dict[str, str]]) -> str:
        """Format messages by the template. Raises ValueError or a Jinja error if it refuses them."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        begin, end = (self._word(token) for token in (self._llama.token_bos(), self._llama.token_eos()))
        chat: Any = Jinja2ChatFormatter(self.template or "", eos_token=end, bos_token=begin)
        prompt: str = chat(messages=messages).prompt
        return prompt.removeprefix(begin) if begin else prompt  # the tokenizer adds it again if the model wants it

    def tokens(self, prompt: str) -> list[int]:
        tokens: list[int] = self._llama.tokenize(prompt.encode(), add_bos=True, special=True)
        return tokens

    def generate(
        self,
        prompt: Sequence[int],
        grammar: str | None,
        max_tokens: int,
        temperature: float,
        seed: int,
        said: str = "",
    ) -> Generated:
        """Generate up to `max_tokens` tokens within the grammar; the likeliest ones at temperature 0.

        `said`: the model's previous message, whose repetition is also penalised.
        """
        before = self._llama.tokenize(said.encode(), add_bos=False)
        rng = np.random.default_rng(seed)
        written: list[int] = []
        with self._lock, self._constraint(grammar) as constraint:
            self._fill(prompt)
            while True:
                hurry = constraint is not None and len(written) >= max_tokens - max_tokens // RESERVE
                token = self._sample(constraint, self._logits(before, written, hurry), temperature, rng)
                if self._api.llama_vocab_is_eog(self._vocabulary, token):
                    return Generated(self._decode(written), len(written), True)
                written.append(token)
                if len(written) >= max_tokens:
                    return Generated(self._decode(written), len(written), False)
                if constraint is not None:
                    self._api.llama_sampler_accept(constraint, token)
                self._llama.eval([token])

    def _fill(self, prompt: Sequence[int]) -> None:
        """Have the model read the prompt, starting after the last whole chunk whose state is known."""
        known = _shared(self._filled, prompt)
        best = max(self._kept, key=lambda kept: _shared(kept.tokens, prompt), default=_Kept((), None))
        if known < len(self._filled) and self._can_keep:
            self._keep()
        if _shared(best.tokens, prompt) > known:
            known = _shared(best.tokens, prompt)
            self._api.llama_state_seq_set_data(self._llama.ctx, best.state, len(best.state), 0)
        self._filled = tuple(prompt[:known])  # in case reading is interrupted
        self._llama.n_tokens = known  # the rest is overwritten
        while known < len(prompt):
            self._llama.eval(list(prompt[known : known + CHUNK]))
            known += CHUNK
        self._filled = tuple(prompt[: (len(prompt) - 1) // CHUNK * CHUNK])

    def _keep(self) -> None:
        size = self._api.llama_state_seq_get_size(self._llama.ctx, 0)
        state = (ctypes.c_uint8 * size)()
        self._api.llama_state_seq_get_data(self._llama.ctx, state, size, 0)
        others = [kept for kept in self._kept if kept.tokens != self._filled[: len(kept.tokens)]]
        self._kept = [*others, _Kept(self._filled, state)][-KEPT:]

    @contextmanager
    def _constraint(self, grammar: str | None) -> Iterator[Any]:
        if grammar is None:
            yield None
            return
        constraint = self._api.llama_sampler_init_grammar(self._vocabulary, grammar.encode(), b"root")
        if not constraint:
            raise ValueError(f"grammar: llama.cpp cannot read it:\n{grammar}")
        try:
            yield constraint
        finally:
            self._api.llama_sampler_free(constraint)

    def _logits(self, before: list[int], written: list[int], hurry: bool) -> NDArray[np.float32]:
        """Return the next token's logits: lowered for recent tokens and, in a hurry, raised for closing ones."""
        size = (self._llama.n_vocab(),)
        logits = np.ctypeslib.as_array(self._api.llama_get_logits_ith(self._llama.ctx, -1), shape=size).copy()
        logits[list(set([*before, *written][-REMEMBERED:]))] -= PENALTY
        if hurry:
            in_string = '"' in STRING.sub("", self._decode(written))
            logits[self._closing[in_string]] += HURRY
        return logits

    @cached_property
    def _closing(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Tokens that end only lists and objects, and tokens that first end a string."""
        words = [self._llama.detokenize([token]) for token in range(self._llama.n_vocab())]
        closing = [bool(word) and not word.strip(b'"]}') for word in words]
        first = np.array([word[:1] == b'"' for word in words])
        return np.flatnonzero(closing & ~first), np.flatnonzero(closing & first)

    def _sample(
        self, constraint: Any, logits: NDArray[np.float32], temperature: float, rng: np.random.Generator
    ) -> int:
        """Sample a token from the model's distribution, restricted to those that the grammar allows.

        The grammar checks a few tokens first: checking the whole vocabulary takes longer than the model.
        """
        size = len(logits)
        choice = _choose(logits, temperature, rng)
        if constraint is None or np.isfinite(self._allowed(constraint, logits, np.array([choice]))[0]):
            return choice
        likely = np.argpartition(logits, -SHORT_LIST)[-SHORT_LIST:]
        for tokens in (np.sort(likely), np.arange(size)):
            left = self._allowed(constraint, logits, tokens)
            if np.isfinite(left).any() and (temperature == 0 or len(tokens) == size):
                return int(tokens[_choose(left, temperature, rng)])
        raise RuntimeError("no token of the vocabulary fits the grammar")

    def _allowed(self, constraint: Any, logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of `tokens`, minus infinity for those that the grammar forbids."""
        candidates = np.zeros(len(tokens), CANDIDATE)
        candidates["id"], candidates["logit"] = tokens, logits[tokens]
        data = candidates.ctypes.data_as(self._api.llama_token_data_p)
        array = self._api.llama_token_data_array(data, len(tokens), -1, False)
        self._api.llama_sampler_apply(constraint, ctypes.byref(array))
        left: NDArray[np.float32] = candidates["logit"]
        return left

    def _decode(self, tokens: Sequence[int]) -> str:
        text: bytes = self._llama.detokenize(list(tokens))
        return text.decode(errors="replace")

    def _word(self, token: int) -> str:
        return str(self._llama._model.token_get_text(token)) if token >= 0 else ""


@lru_cache(maxsize=2)
def load(path: Path, threads: int) -> Engine:
    """Return the model in a file, loaded once per process. Raises ValueError if it cannot be loaded."""
    return Engine(path, threads)


def _choose(logits: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> int:
    if temperature == 0:
        return int(np.argmax(logits))
    weights = np.exp((logits.astype(np.float64) - np.max(logits)) / temperature)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def _shared(known: Sequence[int], prompt: Sequence[int]) -> int:
    """Count the tokens in common leading chunks; never the whole prompt, since its last token must be read."""
    most = min(len(known), len(prompt) - 1) // CHUNK * CHUNK
    while tuple(known[:most]) != tuple(prompt[:most]):
        most -= CHUNK
    return most


@lru_cache(maxsize=1)
def _silent(api: Any) -> Any:
    """Return a log callback that prints nothing: llama.cpp would write to standard error, over the live view."""
    return api.llama_log_callback(lambda level, text, data: None)
