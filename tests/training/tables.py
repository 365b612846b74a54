"""Token tables of conversations that no dataset holds."""

from orchestrator.training import tokens
from orchestrator.training.encode import Encoder
from orchestrator.training.proof import Prover
from orchestrator.training.templates import make_template


def token_table(parts, tokenizer, folder, max_length=1000, template="user_assistant"):
    """Write the table of parts, each some conversations; returns its counts and the table."""
    template = make_template(template, tokenizer)
    made, first = [], 0
    for part in parts:
        encoder = Encoder(tokenizer, template, Prover(tokenizer))
        made.append(tokens.tokenised(encoder, part, max_length, first=first))
        first += len(part)
    return tokens.write(made, folder), tokens.load(folder)
