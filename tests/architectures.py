"""Architectures that people bring: `transformers` models of small random configurations.

`ARCHITECTURES` maps a name to a `Case`; building one needs the development package, not weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, LAYERS, HEADS, TOKENS = 32, 2, 4, 12


@dataclass(frozen=True)
class Case:
    """How to build a network, and what it is called with."""

    build: Callable[[Any], nn.Module]
    inputs: tuple[Tensor, ...]

    def make(self) -> nn.Module:
        """The network in eval mode, from a fixed seed."""
        import transformers

        logging.getLogger("transformers").setLevel(logging.ERROR)
        torch.manual_seed(0)
        return self.build(transformers).eval()


class Without(nn.Module):
    """A model called with fixed keyword arguments: no cache of keys and values."""

    def __init__(self, net: nn.Module, **fixed: Any) -> None:
        super().__init__()
        self.net, self.fixed = net, fixed

    def forward(self, *inputs: Tensor) -> Any:
        """Whatever the model returns."""
        return self.net(*inputs, **self.fixed)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


TEXT = torch.randint(5, 90, (2, TOKENS), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(TEXT)
MASK[1, -3:] = 0
SMALL, IMAGE = _random(2, 3, 32, 32), _random(2, 3, 64, 64)
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 2 * WIDTH,
}
READER = {**SIZES, "vocab_size": 99, "max_position_embeddings": 40}
VIEWER = {**SIZES, "image_size": 32, "patch_size": 8}
STAGES = {"hidden_sizes": [16, 32], "depths": [1, 2]}
WIDER = {"hidden_sizes": [48, 96], "depths": [1, 2]}


def _segformer(t: Any) -> Any:
    return t.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[4, 2],
        hidden_sizes=[16, 32],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=32,
    )


def _mobilebert(t: Any) -> nn.Module:
    config = {**READER, "embedding_size": 16, "true_hidden_size": 16, "intra_bottleneck_size": 16}
    return t.MobileBertModel(t.MobileBertConfig(**config))


def _opt(t: Any) -> nn.Module:
    config = t.OPTConfig(
        vocab_size=99,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        ffn_dim=2 * WIDTH,
        max_position_embeddings=40,
        word_embed_proj_dim=WIDTH,
    )
    return Without(t.OPTModel(config), use_cache=False)


def _grouped(model: str, config: str, **more: Any) -> Callable[[Any], nn.Module]:
    """A decoder whose keys and values serve two queries each."""

    def build(t: Any) -> nn.Module:
        made = getattr(t, config)(num_key_value_heads=HEADS // 2, **READER, **more)
        return Without(getattr(t, model)(made), use_cache=False)

    return build


def _whisper(t: Any) -> nn.Module:
    config = t.WhisperConfig(
        vocab_size=99,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=2 * WIDTH,
        num_mel_bins=16,
        max_source_positions=20,
    )
    return t.models.whisper.modeling_whisper.WhisperEncoder(config)


def _wav2vec2(t: Any) -> nn.Module:
    config = t.Wav2Vec2Config(
        **SIZES,
        conv_dim=[16, 16],
        conv_stride=[4, 2],
        conv_kernel=[8, 3],
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    return t.Wav2Vec2Model(config)


def _detr(t: Any) -> nn.Module:
    backbone = t.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        out_features=["stage2"],
    )
    config = t.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=WIDTH,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=2 * WIDTH,
        decoder_ffn_dim=2 * WIDTH,
        num_queries=5,
    )
    return t.DetrForObjectDetection(config)


def _swin(t: Any) -> nn.Module:
    sizes = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
    return t.SwinModel(t.SwinConfig(image_size=32, patch_size=2, **sizes))


def _poolformer(t: Any) -> nn.Module:
    sizes = {"patch_sizes": [7, 3], "strides": [4, 2], "padding": [2, 1]}
    config = t.PoolFormerConfig(hidden_sizes=[16, 32], depths=[1, 1], num_encoder_blocks=2, **sizes)
    return t.PoolFormerModel(config)


def _mobilevit(t: Any) -> nn.Module:
    config = t.MobileViTConfig(
        image_size=64,
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64],
        num_attention_heads=2,
    )
    return t.MobileViTModel(config)


def _efficientnet(t: Any) -> nn.Module:
    config = t.EfficientNetConfig(width_coefficient=0.3, depth_coefficient=0.3, hidden_dim=384)
    return t.EfficientNetModel(config)


def _plain(model: str, config: str, **settings: Any) -> Callable[[Any], nn.Module]:
    return lambda t: getattr(t, model)(getattr(t, config)(**settings))


T5 = {"vocab_size": 99, "d_model": WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
GPT2 = {"vocab_size": 99, "n_positions": 40, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
DISTIL = {"vocab_size": 99, "dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": 64}
ARCHITECTURES: dict[str, Case] = {
    # text in
    "bert": Case(_plain("BertModel", "BertConfig", **READER), (TEXT,)),
    "bert classifier, masked": Case(
        _plain("BertForSequenceClassification", "BertConfig", **READER), (TEXT, MASK)
    ),
    "distilbert": Case(
        _plain("DistilBertModel", "DistilBertConfig", max_position_embeddings=40, **DISTIL),
        (TEXT,),
    ),
    "roberta": Case(_plain("RobertaModel", "RobertaConfig", **READER), (TEXT,)),
    "albert": Case(_plain("AlbertModel", "AlbertConfig", embedding_size=16, **READER), (TEXT,)),
    "electra": Case(_plain("ElectraModel", "ElectraConfig", embedding_size=16, **READER), (TEXT,)),
    "mobilebert": Case(_mobilebert, (TEXT,)),
    "mpnet": Case(_plain("MPNetModel", "MPNetConfig", **READER), (TEXT,)),
    "t5 encoder": Case(_plain("T5EncoderModel", "T5Config", **T5), (TEXT,)),
    "clip, text": Case(_plain("CLIPTextModel", "CLIPTextConfig", **READER), (TEXT,)),
    # text, each token after those before it
    "gpt2": Case(lambda t: Without(t.GPT2Model(t.GPT2Config(**GPT2)), use_cache=False), (TEXT,)),
    "gpt-neox": Case(
        lambda t: Without(t.GPTNeoXModel(t.GPTNeoXConfig(**READER)), use_cache=False), (TEXT,)
    ),
    "opt": Case(_opt, (TEXT,)),
    "llama": Case(_grouped("LlamaModel", "LlamaConfig"), (TEXT,)),
    "mistral": Case(_grouped("MistralModel", "MistralConfig", head_dim=8), (TEXT,)),
    "qwen2": Case(_grouped("Qwen2Model", "Qwen2Config"), (TEXT,)),
    "qwen3": Case(_grouped("Qwen3Model", "Qwen3Config", head_dim=8), (TEXT,)),
    # images, by attention
    "vit": Case(_plain("ViTModel", "ViTConfig", **VIEWER), (SMALL,)),
    "deit": Case(_plain("DeiTModel", "DeiTConfig", **VIEWER), (SMALL,)),
    "beit": Case(
        _plain("BeitModel", "BeitConfig", use_relative_position_bias=True, **VIEWER), (SMALL,)
    ),
    "dinov2": Case(_plain("Dinov2Model", "Dinov2Config", **VIEWER), (SMALL,)),
    "siglip, image": Case(_plain("SiglipVisionModel", "SiglipVisionConfig", **VIEWER), (SMALL,)),
    "clip, image": Case(_plain("CLIPVisionModel", "CLIPVisionConfig", **VIEWER), (SMALL,)),
    "swin": Case(_swin, (SMALL,)),
    "segformer": Case(lambda t: t.SegformerForSemanticSegmentation(_segformer(t)), (IMAGE,)),
    "mobilevit": Case(_mobilevit, (IMAGE,)),
    "yolos": Case(
        _plain(
            "YolosForObjectDetection",
            "YolosConfig",
            **{**VIEWER, "image_size": [32, 32], "num_detection_tokens": 5},
        ),
        (SMALL,),
    ),
    "detr": Case(_detr, (IMAGE,)),
    # images, by convolution
    "resnet": Case(
        _plain("ResNetModel", "ResNetConfig", embedding_size=16, layer_type="basic", **STAGES),
        (IMAGE,),
    ),
    "regnet": Case(
        _plain("RegNetModel", "RegNetConfig", embedding_size=16, groups_width=8, **STAGES),
        (IMAGE,),
    ),
    "convnext": Case(
        _plain("ConvNextModel", "ConvNextConfig", num_stages=2, patch_size=4, **WIDER), (IMAGE,)
    ),
    "convnext v2": Case(
        _plain("ConvNextV2Model", "ConvNextV2Config", num_stages=2, patch_size=4, **WIDER),
        (IMAGE,),
    ),
    "bit": Case(
        _plain("BitModel", "BitConfig", embedding_size=16, num_groups=4, **STAGES), (IMAGE,)
    ),
    "poolformer": Case(_poolformer, (IMAGE,)),
    "mobilenet v1": Case(
        _plain("MobileNetV1Model", "MobileNetV1Config", depth_multiplier=0.25), (IMAGE,)
    ),
    "mobilenet v2": Case(
        _plain("MobileNetV2Model", "MobileNetV2Config", depth_multiplier=0.35), (IMAGE,)
    ),
    "efficientnet": Case(_efficientnet, (IMAGE,)),
    # sound
    "whisper encoder": Case(_whisper, (_random(2, 16, 40),)),
    "wav2vec2": Case(_wav2vec2, (_random(2, 320),)),
}
