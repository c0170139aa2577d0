"""Published checkpoints in: each converter reads one format without running what it says, and writes weights
with a card.
"""
