"""The inverted residual that MobileNetV2, MobileNetV3 and EfficientNet share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lighten.zoo.parts import Activation, SqueezeExcite, convolution


@dataclass(frozen=True)
class Inverted:
    """One block: widen to `expanded`, filter per channel, narrow to `outputs`.

    `squeezed` is the width inside the squeeze-and-excite gate; 0 leaves the gate out.
    """

    inputs: int
    expanded: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    activation: Activation = nn.ReLU6
    squeezed: int = 0
    gate: Activation = nn.Sigmoid
    gate_activation: Activation = nn.ReLU


class InvertedResidual(nn.Module):
    """1 x 1 up, depthwise, gate, linear 1 x 1 down; added to its input where shapes agree.

    Source: Sandler et al. 2018, "MobileNetV2", section 3.3.
    """

    def __init__(self, spec: Inverted) -> None:
        super().__init__()
        wide, activation = spec.expanded, spec.activation
        layers: list[nn.Module] = []
        if wide != spec.inputs:
            layers.append(convolution(spec.inputs, wide, 1, activation=activation))
        layers.append(convolution(wide, wide, spec.kernel, spec.stride, wide, activation))
        if spec.squeezed:
            layers.append(SqueezeExcite(wide, spec.squeezed, spec.gate_activation, spec.gate))
        layers.append(convolution(wide, spec.outputs, 1, activation=None))
        self.body = nn.Sequential(*layers)
        self.residual = spec.stride == 1 and spec.inputs == spec.outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.residual else out
