"""Synthetic degradation: makes the gray of a digital photograph look like that of an old, scanned one.

Old photographs have grain, fading, scratches, and films that are not sensitive to red. A generator that has trained on
the clean L* of digital photographs does not know these. Degradation changes the generator's input only: a*b* stay
those of the photograph, and nothing is moved.

Spectral sensitivity, vignetting and blur are applied to linear light, everything later to sRGB codes. Each photograph
has random numbers of its own, so that the result does not depend on the batch.
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from kornia.color import linear_rgb_to_rgb, rgb_to_linear_rgb
from kornia.enhance import jpeg_codec_differentiable
from kornia.filters import gaussian_blur2d, get_gaussian_kernel1d
from torch import Tensor

from colornet.color import lab
from colornet.color.srgb import LUMINANCE
from colornet.settings import Field, settings
from colornet.training.ranges import Share

EMULSIONS: Mapping[str, tuple[float, float, float]] = {
    "panchromatic": (0.35, 0.35, 0.30),
    "orthochromatic": (0.0, 0.55, 0.45),
    "blue-sensitive": (0.0, 0.10, 0.90),
}
"""Share of linear R, G and B in the exposure. Approximations of a film's spectral sensitivity."""

MAX_SIGMA = 2.0
"""The largest standard deviation of a Gaussian, pixels: a third of the kernel's radius."""

_FILTER_DENSITY = 0.9  # of the strongest colour filter: it passes a tenth of a channel's light
_OFF_CENTRE = 0.2  # largest offset of a vignette's centre, in half sides
_KERNEL = 13
_NO_BLUR = 0.05  # standard deviation of a Gaussian whose kernel is 1 at its centre and 0 elsewhere
_BEST_JPEG = 95.0
_SPECK_OPACITY = 0.8
_LINES = 3
_DRAWS = {"emulsion": 6, "vignette": 4, "blur": 2, "tone": 3, "grain": 3, "fading": 3, "dust": 3, "jpeg": 2}
_DRAWS |= {"scratches": 1 + 7 * _LINES}

_Sigma = Annotated[float, Field(ge=0, le=MAX_SIGMA)]


@settings
class Degradation:
    """How often each kind of damage happens to a photograph, and how bad it is at most.

    The defaults change nothing. A kind with a share of 0 never happens, whatever its strength.
    """

    emulsion: Share = 0.0
    """Share of photographs on a random emulsion, half of them through a random colour filter."""
    vignette: Share = 0.0
    """Share that are darker towards the corners."""
    vignette_strength: Share = 0.6
    """Share of the light that is lost in the corners, at most."""
    blur: Share = 0.0
    """Share that are out of focus."""
    blur_size: _Sigma = 1.2
    """Standard deviation of the Gaussian, pixels of the crop, at most; in [0, 2]."""
    tone: Share = 0.0
    """Share with a tone curve of their own: a power, then an S-curve or its inverse."""
    tone_power: Annotated[float, Field(ge=0, le=2)] = 0.6
    """The power is between 2 to minus this and 2 to this; in [0, 2]."""
    tone_curve: Share = 0.6
    """Weight of the smoothstep in the S-curve, at most."""
    grain: Share = 0.0
    """Share with grain, strongest in the middle tones and none in black and white."""
    grain_strength: Share = 0.06
    """Standard deviation of the grain in the middle tones, of sRGB codes in [0, 1], at most."""
    grain_size: _Sigma = 1.2
    """Standard deviation of the Gaussian that correlates the grain, pixels of the crop, at most; in [0, 2]."""
    fading: Share = 0.0
    """Share that have faded."""
    fading_black: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    """How far black is lifted, of sRGB codes in [0, 1], at most; in [0, 0.5]."""
    fading_white: Annotated[float, Field(ge=0, le=0.4)] = 0.2
    """How far white is dimmed, or raised and clipped, of sRGB codes in [0, 1], at most; in [0, 0.4]."""
    scratches: Share = 0.0
    """Share with up to three scratches, light or dark, from top to bottom or part of it."""
    dust: Share = 0.0
    """Share with specks of light and dark dust."""
    jpeg: Share = 0.0
    """Share that have been stored as JPEG."""
    jpeg_quality: Annotated[float, Field(ge=1, le=_BEST_JPEG)] = 30.0
    """The lowest JPEG quality, as libjpeg counts; the highest is 95. In [1, 95]."""

    @property
    def changes_nothing(self) -> bool:
        """Whether no kind of damage ever happens."""
        return not any(getattr(self, kind) for kind in _DRAWS)


DEGRADATIONS: Mapping[str, Degradation] = {
    "none": Degradation(),
    "archive": Degradation(
        emulsion=0.7,
        vignette=0.3,
        blur=0.4,
        tone=0.6,
        grain=0.6,
        fading=0.4,
        scratches=0.15,
        dust=0.2,
        jpeg=0.5,
    ),
    "kept": Degradation(
        emulsion=0.25,
        vignette=0.05,
        blur=0.1,
        tone=0.2,
        grain=0.15,
        fading=0.1,
        scratches=0.03,
        dust=0.05,
        jpeg=0.1,
    ),
}
"""Presets: no degradation, that of a mixed archive of the twentieth century, and that of a well-kept one."""


@torch.no_grad()
def degrade(photographs: Tensor, degradation: Degradation, generator: torch.Generator) -> Tensor:
    """Degrade photographs, and return the generator's input.

    Args:
        photographs: (B, 3, H, W), sRGB (gamma-encoded), uint8 in [0, 255] or floating point in [0, 1]; H and W at least
            16. They are not changed.
        degradation: which kinds of damage, and how often.
        generator: on the CPU. A seed for each photograph is drawn from it, unless the degradation changes nothing. The
            result depends on the photograph, its seed and the type of the device.

    Returns:
        Scaled L* (B, 1, H, W), float32, in [-1, 1]; that of `lab.split_scaled` if the degradation changes nothing.
    """
    if degradation.changes_nothing:
        return lab.split_scaled(photographs)[0]
    rgb = photographs.float() if photographs.is_floating_point() else photographs.float() / 255.0
    seeds = torch.randint(2**31, (len(rgb),), generator=generator).tolist()
    draws, noise = _draw(seeds, rgb.device), _noise(seeds, rgb)
    light = _expose(degradation, rgb, draws["emulsion"])
    light = _vignette(degradation, light, draws["vignette"])
    light = _defocus(degradation, light, draws["blur"])
    gray = linear_rgb_to_rgb(light.expand_as(rgb))[:, :1]
    gray = _tone(degradation, gray, draws["tone"])
    gray = _grain(degradation, gray, draws["grain"], noise[:, :1])
    gray = _fade(degradation, gray, draws["fading"])
    gray = _dust(degradation, gray, draws["dust"], noise[:, 1:])
    gray = _scratch(degradation, gray, draws["scratches"])
    gray = _compress(degradation, gray, draws["jpeg"])
    lightness = lab.rgb_to_lab(gray.expand_as(rgb))[:, :1]
    return lab.scale_lightness(lightness).clamp(-1.0, 1.0)


# --- random numbers ---------------------------------------------------------------------------------------------------


def _draw(seeds: list[int], device: torch.device) -> dict[str, Tensor]:
    """Draw uniform numbers in [0, 1): for each kind of damage (B, how many it needs, 1, 1)."""
    rows = [torch.rand(sum(_DRAWS.values()), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    uniform = torch.stack(rows).to(device)[..., None, None]
    return dict(zip(_DRAWS, uniform.split(list(_DRAWS.values()), dim=1), strict=True))


def _noise(seeds: list[int], rgb: Tensor) -> Tensor:
    """Draw normal numbers on the device: (B, 2, H, W), of grain and of dust."""
    generators = [torch.Generator(rgb.device).manual_seed(seed) for seed in seeds]
    shape = (2, *rgb.shape[-2:])
    return torch.stack([torch.randn(shape, generator=each, device=rgb.device) for each in generators])


def _up_to(most: float, share: float, happens: Tensor, amount: Tensor) -> Tensor:
    """Map uniform numbers to [0, most) for a share of the photographs, and to 0 for the others."""
    return torch.where(happens < share, most * amount, 0.0)


def _around_zero(most: float, share: float, happens: Tensor, amount: Tensor) -> Tensor:
    """Map uniform numbers to [-most, most) for a share of the photographs, and to 0 for the others."""
    return torch.where(happens < share, most * (2.0 * amount - 1.0), 0.0)


# --- in linear light: the film and the lens ---------------------------------------------------------------------------


def _expose(degradation: Degradation, rgb: Tensor, draws: Tensor) -> Tensor:
    """Convert (B, 3, H, W) sRGB to linear gray (B, 1, H, W) ; the weights add up to 1, which keeps gray."""
    happens, kind, filtered, transmission = draws.split([1, 1, 1, 3], dim=1)
    emulsions = rgb.new_tensor(list(EMULSIONS.values()))
    weights = emulsions[(kind * len(emulsions)).long().flatten()][..., None, None]
    density = _FILTER_DENSITY * (2.0 * filtered - 1.0).clamp(min=0.0)
    weights = weights * (1.0 - density * transmission)
    weights = weights / weights.sum(1, keepdim=True)
    luminance = rgb.new_tensor(LUMINANCE)[:, None, None]
    weights = torch.where(happens < degradation.emulsion, weights, luminance)
    return (weights * rgb_to_linear_rgb(rgb)).sum(1, keepdim=True)


def _vignette(degradation: Degradation, light: Tensor, draws: Tensor) -> Tensor:
    """Darken with the square of the distance from a point near the centre."""
    happens, amount, *centre = draws.split(1, dim=1)
    height, width = light.shape[-2:]
    x, y = (_OFF_CENTRE * (2.0 * each - 1.0) for each in centre)
    x = torch.linspace(-1, 1, width, device=light.device) - x
    y = torch.linspace(-1, 1, height, device=light.device)[:, None] - y
    loss = _up_to(degradation.vignette_strength, degradation.vignette, happens, amount)
    return light * (1.0 - loss * (x.square() + y.square()) / 2.0).clamp(min=0.0)


def _defocus(degradation: Degradation, light: Tensor, draws: Tensor) -> Tensor:
    happens, amount = draws.split(1, dim=1)
    return _smooth(light, _up_to(degradation.blur_size, degradation.blur, happens, amount))


# --- in sRGB codes: the print and the scan ----------------------------------------------------------------------------


def _tone(degradation: Degradation, gray: Tensor, draws: Tensor) -> Tensor:
    """Apply a monotonic tone curve that keeps black and white."""
    happens, power, curve = draws.split(1, dim=1)
    gray = gray.clamp(0.0, 1.0) ** torch.exp2(_around_zero(degradation.tone_power, degradation.tone, happens, power))
    smoothstep = gray.square() * (3.0 - 2.0 * gray)
    return gray + _around_zero(degradation.tone_curve, degradation.tone, happens, curve) * (smoothstep - gray)


def _grain(degradation: Degradation, gray: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    happens, amount, size = draws.split(1, dim=1)
    visible = (4.0 * gray * (1.0 - gray)).clamp(min=0.0).sqrt()
    strength = _up_to(degradation.grain_strength, degradation.grain, happens, amount)
    return (gray + strength * visible * _correlated(noise, degradation.grain_size * size)).clamp(0.0, 1.0)


def _fade(degradation: Degradation, gray: Tensor, draws: Tensor) -> Tensor:
    happens, black, white = draws.split(1, dim=1)
    lowest = _up_to(degradation.fading_black, degradation.fading, happens, black)
    highest = 1.0 + _around_zero(degradation.fading_white, degradation.fading, happens, white)
    return (lowest + (highest - lowest) * gray).clamp(0.0, 1.0)


def _dust(degradation: Degradation, gray: Tensor, draws: Tensor, noise: Tensor) -> Tensor:
    """Add specks where a smooth random field is far from 0: light ones at its peaks, dark ones at its minima."""
    happens, amount, size = draws.split(1, dim=1)
    field = _correlated(noise, 0.6 + 0.8 * size)
    least = 4.0 - 1.2 * amount  # standard deviations: specks cover from 0.006 % to 0.5 % of the picture
    opacity = torch.where(happens < degradation.dust, _SPECK_OPACITY, 0.0)
    return torch.lerp(gray, (field > 0).float(), opacity * ((field.abs() - least) / 0.4).clamp(0.0, 1.0))


def _scratch(degradation: Degradation, gray: Tensor, draws: Tensor) -> Tensor:
    """Draw nearly upright lines, one to three pixels wide."""
    happens, *lines = draws.split([1] + [7] * _LINES, dim=1)
    height, width = gray.shape[-2:]
    x = torch.arange(width, device=gray.device)
    y = torch.linspace(0, 1, height, device=gray.device)[:, None]
    for line in lines:
        place, lean, thickness, top, bottom, shade, opacity = line.split(1, dim=1)
        middle = width * (place + 0.1 * (lean - 0.5) * y)
        across = (1.0 + thickness - (x - middle).abs()).clamp(0.0, 1.0)
        along = (y >= top / 2) & (y <= 1.0 - bottom / 2)
        visible = (1.3 * opacity - 0.4).clamp(min=0.0)  # 0 for some lines: there are fewer than three then
        opacity = torch.where(happens < degradation.scratches, visible, 0.0)
        gray = torch.lerp(gray, (shade > 0.5).float().expand_as(gray), opacity * across * along)
    return gray


def _compress(degradation: Degradation, gray: Tensor, draws: Tensor) -> Tensor:
    happens, amount = (each.flatten() for each in draws.split(1, dim=1))
    hit = happens < degradation.jpeg
    if not hit.any():
        return gray
    quality = degradation.jpeg_quality + (_BEST_JPEG - degradation.jpeg_quality) * amount
    gray = gray.clone()
    gray[hit] = _through_jpeg(gray[hit], quality[hit])  # the slowest kind of damage, so only for these
    return gray


def _through_jpeg(gray: Tensor, quality: Tensor) -> Tensor:
    """Encode gray (B, 1, H, W) in [0, 1] as JPEG of quality (B,), and decode it."""
    return jpeg_codec_differentiable(gray.expand(-1, 3, -1, -1), quality)[:, :1].clamp(0.0, 1.0)


# --- filters ----------------------------------------------------------------------------------------------------------


def _smooth(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur (B, 1, H, W) with a Gaussian of standard deviation (B, 1, 1, 1), pixels; 0 does not change a picture."""
    # kornia's filters and JPEG have a strength for each picture; torchvision's have one for all.
    return gaussian_blur2d(x, _KERNEL, sigma.clamp(min=_NO_BLUR).flatten(1).expand(-1, 2))


def _correlated(noise: Tensor, sigma: Tensor) -> Tensor:
    """Correlate white noise of variance 1 with a Gaussian of standard deviation (B, 1, 1, 1); the variance stays 1."""
    kernel = get_gaussian_kernel1d(_KERNEL, sigma.clamp(min=_NO_BLUR).flatten(1))
    # The kernel is the outer product of two equal vectors: its norm is the square of theirs.
    return _smooth(noise, sigma) / kernel.square().sum(1)[:, None, None, None]
