"""The exponential moving average (EMA) of a generator's weights."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from colornet.errors import SettingsError
from colornet.training.wrapping import unwrap

Tensors = tuple[Tensor, ...] | list[Tensor]


class EmaGenerator(AveragedModel):
    """An exponential moving average of a network's weights and buffers, called like the network itself.

    The first update copies the network. From then on the decay rises as in `warmed_up`, so that the first weights have
    little influence. BatchNorm's running statistics are averaged, too. Its count of batches, an integer, is not exact;
    only a network with `momentum=None` would use it.

    `state_dict` has the average and the number of updates, and loads safely with `weights_only=True`; `module` is the
    averaged network, whose own `state_dict` fits the network that was averaged.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from a copy of a network on its device; the network may be wrapped in `DistributedDataParallel`.

        Raises:
            SettingsError: if `decay` is not in [0, 1); at 0 the average is the network's last state.
        """
        if not 0.0 <= decay < 1.0:
            raise SettingsError(f"decay must be in [0, 1), not {decay!r}")
        super().__init__(unwrap(network), multi_avg_fn=self._blend, use_buffers=True)
        self.decay = decay
        self.requires_grad_(False)

    def _blend(self, average: Tensors, current: Tensors, _: Tensor | int) -> None:
        # The argument is the same count on the network's device: reading it would wait for a GPU.
        blend = get_ema_multi_avg_fn(warmed_up(self.decay, int(self.n_averaged)))
        blend(average, current, self.n_averaged)


def warmed_up(decay: float, updates: int) -> float:
    """Return the decay after so many updates: min(decay, (1 + updates) / (10 + updates)).

    Source: the warm-up of TensorFlow's `ExponentialMovingAverage` (`num_updates`).
    """
    return min(decay, (1 + updates) / (10 + updates))
