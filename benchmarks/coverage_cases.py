"""The networks that both libraries prune: those that Torch-Pruning's tests and examples name.

Where a network comes from several sizes of one definition, the smallest stands for them all.
Definitions are torchvision's, timm's and transformers', their weights drawn at random. Where it
says "narrow", the widths, and mostly the depth, are reduced; a detector is its trunk and head,
without the selection of boxes.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import coverage_small as small
import torch
from coverage_peer import Usage
from coverage_usage import BERT, LLAMA, SCALED, SWIN, TIMM, VIT, VIT_HF, VIT_TOLD
from torch import Tensor, nn

PLAINLY = Usage()
ROWS = 2  # samples in a batch


@dataclass(frozen=True)
class Case:
    """A network, where its definition comes from, its inputs' shapes, and how the peer is used.

    A shape of integers below zero means that many token ids. `quick` cases run with `--quick`.
    """

    source: str
    build: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    usage: Usage = PLAINLY
    quick: bool = False

    def make(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The network in eval mode and its inputs, from fixed seeds."""
        torch.manual_seed(0)
        inputs = tuple(
            torch.randint(5, 90, (ROWS, -shape[0])) if shape[0] < 0 else torch.randn(ROWS, *shape)
            for shape in self.shapes
        )
        return self.build().eval(), inputs


def torchvision() -> Any:
    """torchvision's models, also where its compiled operators do not fit the installed torch."""
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError:  # it registers shapes for two operators that it could not load
        for name in ("nms", "qnms"):
            declared = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", declared.removeprefix(name))
        return importlib.import_module("torchvision.models")


def _torchvision(name: str, size: int = 64, quick: bool = False, **options: Any) -> Case:
    last = options.pop("last", ())

    def build() -> nn.Module:
        models = torchvision()
        make = getattr(models, name, None) or getattr(models.segmentation, name)
        return make(**options)  # type: ignore[no-any-return]

    return Case("torchvision", build, ((3, size, size),), Usage(last=last), quick)


def _transformers(model: str, usage: Usage, quick: bool = False, **sizes: Any) -> Case:
    def build() -> nn.Module:
        torchvision()  # which it imports too
        library = importlib.import_module("transformers")
        config = getattr(library, f"{model.partition('For')[0].removesuffix('Model')}Config")
        return Alone(getattr(library, model)(config(**sizes)), int(model == "BertModel"))

    side = sizes.get("image_size")
    shapes = ((3, side, side),) if side else ((-12,),)
    return Case("transformers, narrow", build, shapes, usage, quick)


class Alone(nn.Module):
    """A model with one output: of all that it returns, the one at this place."""

    def __init__(self, net: nn.Module, place: int) -> None:
        super().__init__()
        self.net, self.place = net, place

    def forward(self, x: Tensor) -> Tensor:
        """The logits, or BERT's pooled output."""
        return self.net(x, return_dict=False)[self.place]  # type: ignore[no-any-return]


def _timm(name: str, size: int = 64, usage: Usage = TIMM, **options: Any) -> Case:
    def build() -> nn.Module:
        torchvision()  # which it imports too
        os.environ["TIMM_FUSED_ATTN"] = "0"  # as its examples do
        return importlib.import_module("timm").create_model(name, **options)  # type: ignore[no-any-return]

    return Case("timm", build, ((3, size, size),), usage)


class Detector(nn.Module):
    """The trunk of a detector and the head that reads its maps."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.backbone = net.backbone
        self.head = net.rpn.head if hasattr(net, "rpn") else net.head

    def forward(self, x: Tensor) -> Any:
        """Whatever the head says of every map."""
        return self.head(list(self.backbone(x).values()))


def _detector(name: str, *last: str, size: int = 64) -> Case:
    def build() -> nn.Module:
        torchvision()
        models = importlib.import_module("torchvision.models.detection")
        return Detector(getattr(models, name)(weights=None, weights_backbone=None))

    return Case("torchvision, trunk and head", build, ((3, size, size),), Usage(last=last))


def _own(
    build: Callable[[], nn.Module], *shapes: tuple[int, ...], usage: Usage | None = None
) -> Case:
    return Case("ours", build, shapes, usage or Usage(last=("last",)), quick=True)


def _vit() -> nn.Module:
    make = torchvision().vision_transformer.VisionTransformer
    return make(32, 8, 2, 4, 64, 128)  # type: ignore[no-any-return]


def _vgg() -> nn.Module:
    parts = torchvision().vgg
    widths = [16, "M", 32, "M", 64, 64, "M", 128, 128, "M", 128, 128, "M"]
    net = parts.VGG(parts.make_layers(widths, batch_norm=True), init_weights=False)
    flat = net.avgpool.output_size[0] * net.avgpool.output_size[1] * 128
    net.classifier[0], net.classifier[3] = nn.Linear(flat, 256), nn.Linear(256, 256)
    net.classifier[6] = nn.Linear(256, 1000)
    return net  # type: ignore[no-any-return]


def _efficientnet_v2() -> nn.Module:
    parts = torchvision().efficientnet
    stages = [
        parts.FusedMBConvConfig(1, 3, 1, 16, 16, 1),
        parts.FusedMBConvConfig(4, 3, 2, 16, 32, 2),
        parts.MBConvConfig(4, 3, 2, 32, 64, 2),
        parts.MBConvConfig(6, 3, 1, 64, 80, 2),
    ]
    return parts.EfficientNet(stages, 0.2, last_channel=128)  # type: ignore[no-any-return]


def _densenet() -> nn.Module:
    return torchvision().densenet.DenseNet(8, (2, 3, 2), 16)  # type: ignore[no-any-return]


def _convnext() -> nn.Module:
    parts = torchvision().convnext
    stages = [parts.CNBlockConfig(24, 48, 2), parts.CNBlockConfig(48, None, 2)]
    return parts.ConvNeXt(stages)  # type: ignore[no-any-return]


def _swin(version: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        parts = torchvision().swin_transformer
        block = {} if version == "1" else {"block": parts.SwinTransformerBlockV2}
        merging = {} if version == "1" else {"downsample_layer": parts.PatchMergingV2}
        sizes = ([4, 4], 24, [2, 2], [2, 4], [4, 4])
        return parts.SwinTransformer(*sizes, **block, **merging)  # type: ignore[no-any-return]

    return build


HEADS = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
PLAIN = {"aux_logits": False, "init_weights": True}
MAPS = {"weights_backbone": None, "num_classes": 21}
READER = {**HEADS, "intermediate_size": 64, "vocab_size": 99}

CASES: Mapping[str, Case] = {
    # its tests' own networks
    "wide and deep": _own(small.WideAndDeep, (32,)),
    "concat and split": _own(small.ConcatSplit, (10, 7, 7)),
    "concat and split, unequal widths": _own(lambda: small.ConcatSplit(13), (10, 7, 7)),
    "shared layer after a split": _own(
        small.SharedSplit, (32, 7, 7), usage=Usage(last=("shared", "other"))
    ),
    "cascaded concat": _own(small.CascadedConcat, (10, 7, 7)),
    "linear, reshape, transposed convolution": _own(small.Generator, (64,)),
    "concat along the height": _own(small.OtherConcat, (16, 7, 7)),
    "two inputs, two outputs": _own(
        small.TwoInTwoOut, (128,), (64,), usage=Usage(last=("b", "last"))
    ),
    "customized layer, unused parameter": _own(small.Customized, (128,), usage=SCALED),
    "perceptron with a shortcut": _own(small.SkippingPerceptron, (128,)),
    "one channel out": _own(small.OneChannelOut, (3, 16, 16)),
    "transposed convolution": _own(lambda: small.OneChannelOut(True), (3, 16, 16)),
    "LeNet with a view": _own(small.LeNet, (1, 28, 28)),
    # torchvision
    "alexnet": _torchvision("alexnet"),
    "vgg11_bn, narrow": Case("torchvision", _vgg, ((3, 64, 64),)),
    "resnet18": _torchvision("resnet18", quick=True),
    "resnext50_32x4d": _torchvision("resnext50_32x4d"),
    "densenet121, narrow": Case("torchvision", _densenet, ((3, 64, 64),)),
    "googlenet": _torchvision("googlenet", **PLAIN),
    "inception_v3": _torchvision("inception_v3", 75, **PLAIN),
    "squeezenet1_1": _torchvision("squeezenet1_1", quick=True),
    "mnasnet0_5": _torchvision("mnasnet0_5"),
    "mobilenet_v2": _torchvision("mobilenet_v2"),
    "mobilenet_v3_small": _torchvision("mobilenet_v3_small"),
    "efficientnet_b0": _torchvision("efficientnet_b0"),
    "efficientnet_v2_s, narrow": Case("torchvision", _efficientnet_v2, ((3, 64, 64),)),
    "regnet_y_400mf": _torchvision("regnet_y_400mf"),
    "shufflenet_v2_x0_5": _torchvision("shufflenet_v2_x0_5", quick=True),
    "convnext_tiny, narrow": Case("torchvision", _convnext, ((3, 64, 64),)),
    "vit_b_16, narrow": Case("torchvision", _vit, ((3, 32, 32),), VIT, quick=True),
    "vit_b_16, narrow, heads told": Case("torchvision", _vit, ((3, 32, 32),), VIT_TOLD),
    "swin_t, narrow": Case("torchvision", _swin("1"), ((3, 64, 64),)),
    "swin_v2_t, narrow": Case("torchvision", _swin("2"), ((3, 64, 64),)),
    "fcn_resnet50": _torchvision("fcn_resnet50", **MAPS, last=("classifier.4",)),
    "deeplabv3_mobilenet_v3_large": _torchvision(
        "deeplabv3_mobilenet_v3_large", **MAPS, last=("classifier.4",)
    ),
    "lraspp_mobilenet_v3_large": _torchvision(
        "lraspp_mobilenet_v3_large",
        **MAPS,
        last=("classifier.low_classifier", "classifier.high_classifier"),
    ),
    "ssdlite320_mobilenet_v3_large": _detector("ssdlite320_mobilenet_v3_large", "head", size=320),
    "retinanet_resnet50_fpn_v2": _detector(
        "retinanet_resnet50_fpn_v2",
        "head.classification_head.cls_logits",
        "head.regression_head.bbox_reg",
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _detector(
        "fasterrcnn_mobilenet_v3_large_320_fpn", "head.cls_logits", "head.bbox_pred", "backbone.fpn"
    ),
    # transformers, as its examples prune them
    "ViT": _transformers(
        "ViTForImageClassification",
        VIT_HF,
        **HEADS,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    ),
    "BERT": _transformers("BertModel", BERT, **READER, quick=True),
    "Swin": _transformers(
        "SwinForImageClassification",
        SWIN,
        image_size=64,
        patch_size=4,
        embed_dim=16,
        depths=[1, 1],
        num_heads=[2, 4],
        window_size=4,
    ),
    "Llama": _transformers("LlamaForCausalLM", LLAMA, **READER, num_key_value_heads=4),
    "Llama, grouped queries": _transformers(
        "LlamaForCausalLM", LLAMA, **READER, num_key_value_heads=2
    ),
    # timm
    "vit_tiny_patch16_224, narrow": _timm(
        "vit_tiny_patch16_224", 32, img_size=32, patch_size=8, embed_dim=48, depth=2
    ),
    "beit_base_patch16_224, narrow": _timm(
        "beit_base_patch16_224", 32, img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3
    ),
    "convnext_atto": _timm("convnext_atto"),
    "mixer_s32_224": _timm("mixer_s32_224", img_size=64),
    "resmlp_12_224": _timm("resmlp_12_224", img_size=64),
    "res2net50_26w_4s": _timm("res2net50_26w_4s"),
    "repvgg_a0": _timm("repvgg_a0"),
    "ghostnet_050": _timm("ghostnet_050"),
    "dla34": _timm("dla34"),
}

# What was found behind a wrong answer, by looking at the weights that are left.
NOTES: Mapping[str, str] = {
    "concat and split": "it takes the parts of the split for each other: channels of the second "
    "part go, and with them the weights that read the first",
    "concat and split, unequal widths": "the same",
    "vit_b_16, narrow": "rounding to a multiple of the heads does not cut them alike (of 16 "
    "channels each, 13, 11, 12 and 8 stay), and what stays is divided into heads anew",
}


def quick(cases: Mapping[str, Case]) -> dict[str, Case]:
    """Those that take a minute together."""
    return {name: case for name, case in cases.items() if case.quick}
