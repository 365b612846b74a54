"""Artifacts that forecasters ask for, as the store would have them."""

from tests.stages.influences import drawn


class Drawn:
    """Artifacts of any trial, drawn at random."""

    def __init__(self, folder):
        self._dataset, self._tokens, self._influence = drawn(folder)

    def dataset(self, config):
        return self._dataset

    def tokens(self, config):
        return self._tokens

    def influence(self, config):
        return self._influence
