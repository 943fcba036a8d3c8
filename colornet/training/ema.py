"""The moving average of a generator's weights: steadier than the weights of any one step."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from colornet.errors import SettingsError
from colornet.training.wrapping import bare

Tensors = tuple[Tensor, ...] | list[Tensor]


class EmaGenerator(AveragedModel):
    """An exponential moving average of a network's weights and buffers, called like the network itself.

    The first update copies the network. From then on the decay rises as `warmed_up` says, so that the first weights are
    soon forgotten. BatchNorm's running statistics are averaged like the weights that they belong to; its count of
    batches, an integer, lags behind, and only a network with `momentum=None` would use it.

    `state_dict` has the average and the number of updates, and loads safely with `weights_only=True`; `module` is the
    averaged network, whose own `state_dict` fits the network that was averaged.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from a copy of a network, bare or wrapped in `DistributedDataParallel`, on its device.

        Raises:
            SettingsError: if `decay` is not in [0, 1); at 0 the average is the network's last state.
        """
        if not 0.0 <= decay < 1.0:
            raise SettingsError(f"decay must be in [0, 1), not {decay!r}")
        super().__init__(bare(network), multi_avg_fn=self._blend, use_buffers=True)
        self.decay = decay
        self.requires_grad_(False)

    def _blend(self, average: Tensors, current: Tensors, _: Tensor | int) -> None:
        # Not the count that is handed over: that one is on the network's device, and reading it would wait for a GPU.
        blend = get_ema_multi_avg_fn(warmed_up(self.decay, int(self.n_averaged)))
        blend(average, current, self.n_averaged)


def warmed_up(decay: float, updates: int) -> float:
    """Return the decay after so many updates: min(decay, (1 + updates) / (10 + updates)).

    Source: the warm-up of TensorFlow's `ExponentialMovingAverage` (`num_updates`).
    """
    return min(decay, (1 + updates) / (10 + updates))
