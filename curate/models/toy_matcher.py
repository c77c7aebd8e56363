"""The toy matcher: a text that looks at a picture, and says whether it describes it.

The picture tower and the text layers are those of the toy CLIP, which is where its training starts from; new is that
each text layer looks at the picture's tokens. Pictures and texts cannot be embedded apart, so n pictures and m texts
cost n x m reads: the price for seeing that it was the other group which is red.
"""

from __future__ import annotations

from torch import Tensor, nn

from curate.models.toy_clip import DIMENSIONS, IMAGE_SIZE, LAYERS, MEAN, STD, Layer, PictureTower, TextEmbedding
from curate.models.toy_words import CONTEXT_LENGTH

__all__ = ["ToyMatcher"]


class ToyMatcher(nn.Module):
    """The toy image-text matcher."""

    image_size = IMAGE_SIZE
    context_length = CONTEXT_LENGTH
    mean = MEAN
    std = STD

    def __init__(self) -> None:
        super().__init__()
        self.picture = PictureTower()
        self.text = TextEmbedding()
        self.layers = nn.ModuleList(Layer(crossed=True) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(DIMENSIONS)
        self.out = nn.Linear(DIMENSIONS, 1)

    def match(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Pictures, float (n, 3, image_size, image_size), and their texts, int64 (n, length), to logits, float32 (n,).

        Its sigmoid is the probability that the text describes the picture. Any length that holds the longest text.
        """
        return self.logit(self.read(self.picture(images), tokens))

    def read(self, pictures: Tensor, tokens: Tensor) -> Tensor:
        """Picture tokens (n, m, d) and texts to a vector per word that has seen both, (n, length, d)."""
        x, hidden = self.text(tokens)
        for layer in self.layers:
            x = layer(x, hidden, pictures)
        return self.norm(x)

    def logit(self, words: Tensor) -> Tensor:
        """What `read` gave to logits, float32 (n,)."""
        return self.out(words[:, 0])[:, 0].float()
