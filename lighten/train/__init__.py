"""The only training loop, what it teaches by, and how its results are judged."""

from lighten.train.evaluate import logits, quality, rows
from lighten.train.loop import Session, fit, steps_of
from lighten.train.losses import LOSSES, loss_of
from lighten.train.progress import History, Progress
from lighten.train.regimes import REGIMES, Regime, regime
from lighten.train.roles import Fixed, Joint, Mutual
from lighten.train.signals import TABLE as SIGNALS

__all__ = [
    "LOSSES",
    "REGIMES",
    "SIGNALS",
    "Fixed",
    "History",
    "Joint",
    "Mutual",
    "Progress",
    "Regime",
    "Session",
    "fit",
    "logits",
    "loss_of",
    "quality",
    "regime",
    "rows",
    "steps_of",
]
