"""What happens between the steps of a run: one module for each thing that is done."""

from colornet.training.callbacks.health_policy import HealthPolicy
from colornet.training.callbacks.held_out import HeldOutMetrics
from colornet.training.callbacks.progress import Progress, ReportProgress
from colornet.training.callbacks.retraining import DiscriminatorRetraining
from colornet.training.trainer import Callback

__all__ = [
    "DiscriminatorRetraining",
    "HealthPolicy",
    "HeldOutMetrics",
    "Progress",
    "ReportProgress",
    "standard_callbacks",
]


def standard_callbacks() -> list[Callback]:
    """Return those of every run: they measure held-out photographs, retrain the discriminator and judge the health."""
    metrics = HeldOutMetrics()
    retraining = DiscriminatorRetraining(metrics)
    return [metrics, retraining, HealthPolicy(retraining)]
