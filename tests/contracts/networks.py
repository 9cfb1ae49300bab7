"""Every network that the contract tests open, and the one table of what regraft is tested with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the literature, and where it comes from.

    Parameters
    ----------
    literature : str
        Its usual name.
    spelling : str
        First choice.
    alternatives : tuple of str
        The same architecture from elsewhere.
    slow : bool
        Whether its contract takes so long that only `make test-slow` checks it; the alternatives
        are checked there too.
    size : tuple of int, optional
        Height and width in pixels that the tests use instead of its own, to need less time
        and memory.
    """

    literature: str
    spelling: str
    alternatives: tuple[str, ...] = ()
    slow: bool = False
    size: tuple[int, int] | None = None


NETWORKS: tuple[Network, ...] = (
    Network("AlexNet", "torchvision:alexnet"),
    Network("GoogLeNet", "torchvision:googlenet"),
    Network("VGG-16", "timm:vgg16", ("torchvision:vgg16", "keras:VGG16"), slow=True),
    Network("VGG-19", "timm:vgg19", ("torchvision:vgg19", "keras:VGG19"), slow=True),
    Network("ResNet-50", "timm:resnet50", ("torchvision:resnet50", "keras:ResNet50")),
    Network(
        "ResNet-101", "timm:resnet101", ("torchvision:resnet101", "keras:ResNet101"), slow=True
    ),
    Network(
        "ResNet-152", "timm:resnet152", ("torchvision:resnet152", "keras:ResNet152"), slow=True
    ),
    Network("ResNet-50 V2", "keras:ResNet50V2", ("timm:resnetv2_50",)),
    Network("ResNet-101 V2", "keras:ResNet101V2", ("timm:resnetv2_101",), slow=True),
    Network("ResNet-152 V2", "keras:ResNet152V2", ("timm:resnetv2_152",), slow=True),
    Network(
        "Inception v3",
        "torchvision:inception_v3",
        ("timm:inception_v3", "keras:InceptionV3"),
        size=(160, 160),
    ),
    Network("Inception v4", "timm:inception_v4", slow=True),
    Network(
        "Inception-ResNet v2", "timm:inception_resnet_v2", ("keras:InceptionResNetV2",), slow=True
    ),
    Network("Xception", "timm:legacy_xception", ("keras:Xception",)),
    Network("MobileNet v1", "keras:MobileNet", ("timm:mobilenetv1_100",)),
    Network(
        "MobileNet v2", "timm:mobilenetv2_100", ("torchvision:mobilenet_v2", "keras:MobileNetV2")
    ),
    Network("MobileNet trunk of an SSD detector", "torchvision:ssdlite320_mobilenet_v3_large"),
    Network("DenseNet-121", "timm:densenet121", ("torchvision:densenet121", "keras:DenseNet121")),
    Network(
        "DenseNet-169",
        "timm:densenet169",
        ("torchvision:densenet169", "keras:DenseNet169"),
        slow=True,
    ),
    Network(
        "DenseNet-201",
        "timm:densenet201",
        ("torchvision:densenet201", "keras:DenseNet201"),
        slow=True,
    ),
    Network(
        "NASNet-Large", "timm:nasnetalarge", ("keras:NASNetLarge",), slow=True, size=(224, 224)
    ),
    Network("NASNet-Mobile", "keras:NASNetMobile"),
    Network(
        "EfficientNet B0",
        "timm:efficientnet_b0",
        ("torchvision:efficientnet_b0", "keras:EfficientNetB0"),
    ),
    Network(
        "EfficientNet B1",
        "timm:efficientnet_b1",
        ("torchvision:efficientnet_b1", "keras:EfficientNetB1"),
        slow=True,
    ),
    Network(
        "EfficientNet B2",
        "timm:efficientnet_b2",
        ("torchvision:efficientnet_b2", "keras:EfficientNetB2"),
        slow=True,
    ),
    Network(
        "EfficientNet B3",
        "timm:efficientnet_b3",
        ("torchvision:efficientnet_b3", "keras:EfficientNetB3"),
        slow=True,
    ),
    Network(
        "EfficientNet B4",
        "timm:efficientnet_b4",
        ("torchvision:efficientnet_b4", "keras:EfficientNetB4"),
        slow=True,
    ),
    Network(
        "EfficientNet B5",
        "timm:efficientnet_b5",
        ("torchvision:efficientnet_b5", "keras:EfficientNetB5"),
        slow=True,
        size=(224, 224),
    ),
    Network(
        "EfficientNet B6",
        "timm:tf_efficientnet_b6",
        ("torchvision:efficientnet_b6", "keras:EfficientNetB6"),
        slow=True,
        size=(224, 224),
    ),
    Network(
        "EfficientNet B7",
        "timm:tf_efficientnet_b7",
        ("torchvision:efficientnet_b7", "keras:EfficientNetB7"),
        slow=True,
        size=(224, 224),
    ),
    Network("EfficientNet-Lite0", "embedded:efficientnet_lite0", ("timm:tf_efficientnet_lite0",)),
    Network("EfficientNet-Lite1", "embedded:efficientnet_lite1", ("timm:tf_efficientnet_lite1",)),
    Network(
        "EfficientNet-Lite2",
        "embedded:efficientnet_lite2",
        ("timm:tf_efficientnet_lite2",),
        slow=True,
    ),
    Network(
        "EfficientNetV2",
        "timm:tf_efficientnetv2_b0",
        ("torchvision:efficientnet_v2_s", "keras:EfficientNetV2B0"),
    ),
    Network("MobileNetV4", "timm:mobilenetv4_conv_small"),
    Network("SqueezeNet", "torchvision:squeezenet1_1"),
    Network("ConvNeXt", "timm:convnext_tiny", ("torchvision:convnext_tiny", "keras:ConvNeXtTiny")),
    Network("ViT, tiny", "timm:vit_tiny_patch16_224"),
    Network("ViT, base", "timm:vit_base_patch16_224", ("torchvision:vit_b_16",), slow=True),
    Network("DINOv2", "timm:vit_small_patch14_dinov2", size=(224, 224)),
    Network(
        "DINOv2 with registers", "timm:vit_small_patch14_reg4_dinov2", slow=True, size=(224, 224)
    ),
    Network("DeiT, distilled", "timm:deit_tiny_distilled_patch16_224"),
    Network("Swin", "timm:swin_tiny_patch4_window7_224", ("torchvision:swin_t",)),
    Network("Twins", "timm:twins_svt_small"),
)
"""From the oldest family to the youngest."""
