"""BLIPs of the real architecture with random weights, small enough for a test, with a vocabulary of toy words."""

import re

WORDS = (
    *("a", "an", "two", "three", "red", "blue", "green", "yellow", "orange", "purple", "circle", "circles", "square"),
    *("squares", "triangle", "triangles", "star", "stars", "above", "below", "left", "right", "top", "bottom", "under"),
    *("underneath", "there", "is", "are", "sit", "sits", "picture", "image", "showing", "the", "to", "of", "on", "at"),
    *("and", "with", ","),
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZE = 32


def write_blip(folder, kind, seed=0):
    """A folder as transformers saves it. `kind`: the name of the class."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    words = [*SPECIAL, *WORDS]
    (folder / "vocab.txt").write_text("\n".join([*words, "[DEC]", "[ENC]"]) + "\n")
    text = {
        "vocab_size": len(words) + 2,
        "hidden_size": 32,
        "encoder_hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": len(words),
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": 8,
    }
    config = transformers.BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=16)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, kind)(config)
        for name, parameter in model.named_parameters():
            if re.search(r"bias|norm", name, re.IGNORECASE):
                torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    transformers.BlipImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)
    return str(folder)
