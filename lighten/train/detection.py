"""What a grid detector is told: by the boxes in the data, and by another detector's answer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BOX = 4  # offsets of the centre and sizes come first, then the objectness, then the classes
BOX_WEIGHT = 5.0  # of the boxes' overlap, beside the objectness (Redmon et al. 2016 weigh alike)


def detection(answer: Tensor, target: Tensor) -> Tensor:
    """The loss of a one-stage grid detector: objectness, boxes and classes, mean over images.

    Answer `[n, 5 + classes, h, w]` as `lighten.metrics.boxes` reads it, target `[n, m, 5]` (class
    or −1, centre x, y, width, height in shares of the image). The cell that holds an object's
    centre answers for it. Objectness is a cross-entropy summed over cells, classes one per object,
    boxes 5 · (1 − generalized IoU) (Rezatofighi et al. 2019).
    """
    n, _, height, width = answer.shape
    image, place = (target[..., 0] >= 0).nonzero(as_tuple=True)
    objects = target[image, place]
    column = (objects[:, 1] * width).long().clamp(0, width - 1)
    row = (objects[:, 2] * height).long().clamp(0, height - 1)
    there = torch.zeros_like(answer[:, BOX])
    there[image, row, column] = 1.0
    loss = F.binary_cross_entropy_with_logits(answer[:, BOX], there, reduction="sum")
    said = answer[image, :, row, column]  # [objects, 5 + classes]
    offset, size = said[:, :2].sigmoid(), said[:, 2:BOX].sigmoid()
    scale = torch.tensor([width, height], device=answer.device)
    centre = (offset + torch.stack((column, row), 1)) / scale
    apart = 1.0 - generalized_iou(_corners(centre, size), _corners(objects[:, 1:3], objects[:, 3:]))
    loss = loss + BOX_WEIGHT * apart.sum()
    loss = loss + F.cross_entropy(said[:, BOX + 1 :], objects[:, 0].long(), reduction="sum")
    return loss / n


def detected_alike(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How far one grid's answer is from another's, in the units of `detection`.

    Objectness is compared in every cell, boxes and classes as far as the teacher sees an object
    there: elsewhere its answer means nothing (Chen et al. 2017, "Learning Efficient Object
    Detection Models with Knowledge Distillation"). Classes are softened by the temperature.
    """
    seen = teacher[:, BOX].sigmoid()
    told = F.binary_cross_entropy_with_logits(student[:, BOX], seen, reduction="sum")
    least = F.binary_cross_entropy_with_logits(teacher[:, BOX], seen, reduction="sum")
    boxes = (student[:, :BOX].sigmoid() - teacher[:, :BOX].sigmoid()).abs().sum(1)
    wanted = F.log_softmax(teacher[:, BOX + 1 :] / temperature, 1)
    given = F.log_softmax(student[:, BOX + 1 :] / temperature, 1)
    classes = temperature**2 * (wanted.exp() * (wanted - given)).sum(1)
    return (told - least + (seen * (BOX_WEIGHT * boxes + classes)).sum()) / len(student)


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less the share of the hull that neither box covers; corners `[k, 4]`, result `[k]`.

    >>> generalized_iou(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[2.0, 0, 3, 1]])).item()
    -0.3333333432674408
    """
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(0)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    both, whole = shared.prod(1), hull.prod(1).clamp(1e-9)
    either = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both
    return both / either.clamp(1e-9) - (whole - either) / whole


def _corners(centre: Tensor, size: Tensor) -> Tensor:
    return torch.cat((centre - size / 2, centre + size / 2), dim=1)
