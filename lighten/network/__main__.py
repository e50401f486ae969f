"""Prints the groups of a small residual network."""

import torch
from torch import Tensor, nn

from lighten.network import check_exact, cut, share, trace


class Residual(nn.Module):
    """x + conv(relu(conv(x))), between a stem and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.Conv2d(8, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.down = nn.Conv2d(16, 8, 3, padding=1)
        self.classify = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Shape [batch, 3, height, width] → [batch, 4]."""
        x = self.stem(x)
        x = x + self.down(torch.relu(self.norm(self.up(x))))
        return self.classify(x.mean((2, 3)))  # type: ignore[no-any-return]


def main() -> None:
    """Trace, print, cut half of every group, prove it exact."""
    example = torch.randn(1, 3, 16, 16)
    graph = trace(Residual(), example)
    print(f"{graph.macs:,} MACs, {graph.parameters:,} parameters, {share(graph):.0%} can be cut")
    for group in graph.groups:
        print(f"\n{group.name}: {group.size} slices")
        for role in ("producers", "followers", "consumers"):
            members = ", ".join(f"{m.parameter}[dim {m.dim}]" for m in getattr(group, role))
            print(f"  {role:10} {members or '-'}")
    print("\nleft alone:", ", ".join(f"{k} ({v})" for k, v in graph.left_alone.items()))
    print("blocks that can be dropped:", ", ".join(block.name for block in graph.blocks))
    keep = {group.name: range(0, group.size, 2) for group in graph.groups}
    error = check_exact(graph, keep, (), example)
    small = trace(cut(graph, keep), example)
    print(f"half of every group: {small.macs:,} MACs, equal to the masked network to {error:.0e}")


if __name__ == "__main__":
    main()
