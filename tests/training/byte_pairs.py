"""Small tokenizers of byte pairs: every byte is a token, and what a text repeats is one, too."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def byte_pairs(text: str, vocab_size: int, special_tokens: list[str] | None = None) -> Tokenizer:
    """Words of a text with the space before them as one token, as most models have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens or [],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text] * 9, trainer)
    return tokenizer
