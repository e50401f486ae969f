"""Row B3: clamp, then round; the gradient is 1 inside the range and 0 outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lighten.formats.integer import INT8_WEIGHT, UINT8, Scale
from lighten.network.fake_quantize import fake_quantize


def test_it_is_encode_then_decode() -> None:
    x = torch.linspace(-3, 9, 4001)
    params = UINT8.span(-1.0, 5.0)
    exact = UINT8.decode(UINT8.encode(x.numpy(), params), params)
    assert np.array_equal(fake_quantize(x, UINT8, params).numpy(), exact.astype(np.float32))


def test_the_gradient_is_straight_through_inside_and_zero_outside() -> None:
    params = UINT8.span(-1.0, 5.0)
    x = torch.tensor([-1.2, -0.9, 0.0, 4.9, 5.2], requires_grad=True)
    (3.0 * fake_quantize(x, UINT8, params)).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 3.0, 3.0, 3.0, 0.0]


@pytest.mark.parametrize("seed", range(8))
def test_per_channel_weights(seed: int) -> None:
    """The largest of a filter learns too, though divided by its step it may lie a bit above 127."""
    w = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    params = INT8_WEIGHT.fit(w.detach().numpy(), axis=0)
    y = fake_quantize(w, INT8_WEIGHT, params)
    step = torch.as_tensor(params.scale).reshape(-1, 1, 1, 1)
    assert ((y - w).abs() <= step / 2 * 1.0001).all() and not torch.equal(y, w)
    y.sum().backward()
    assert w.grad is not None and (w.grad == 1).all()


def test_it_is_one_node_in_an_export() -> None:
    class Rounding(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return fake_quantize(x, UINT8, Scale(torch.tensor(0.5), torch.tensor(2.0)))

    exported = torch.export.export(Rounding(), (torch.randn(2, 3),))
    targets = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert sum("lighten.fake_quantize" in target for target in targets) == 1
