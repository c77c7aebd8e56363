"""The language modelling loss of a captioner: how surprised it is by each next word of a caption.

As BLIP fine-tunes it (Li et al. 2022): cross-entropy with label smoothing of .1, over the words and the end, not over
padding and not over the prompt, which the model is given at each generation. It is a sum, and the caller divides by
the number of words of the whole batch: so pieces of a batch, and its parts on several workers, add up to one loss.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["IGNORED", "lm_loss", "lm_targets"]

IGNORED = -100
"""The target of a place that is not asked."""


def lm_targets(tokens: Tensor, padding: int, prompt: int) -> Tensor:
    """The next token at each place, int64 (n, length - 1), IGNORED for padding and for the prompt's tokens.

    `tokens` int64 (n, length) begin with the start and then `prompt` tokens of the prompt.
    """
    targets = tokens[:, 1:].masked_fill(tokens[:, 1:] == padding, IGNORED)
    targets[:, :prompt] = IGNORED
    return targets


def lm_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The sum over all places that are asked, float32 (). `logits` (n, length, v), `targets` int64 (n, length)."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=smoothing,
    )
