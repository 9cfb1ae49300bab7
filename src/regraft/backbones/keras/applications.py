"""The networks of Keras Applications: how pictures are prepared, where the weights are.

Keras 3.15 says the same in its sources, in a place of its own for each family; a test compares.
Licences of the weights are those that the Keras documentation states
(https://github.com/keras-team/keras/blob/2.3.1/docs/templates/applications.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Mode = Literal["tf", "torch", "caffe", "inside"]

_BUCKET = "https://storage.googleapis.com/"
_FOLDER = f"{_BUCKET}tensorflow/keras-applications/"


@dataclass(frozen=True, slots=True)
class Application:
    """One network.

    Parameters
    ----------
    module : str
        Its module in ``keras.applications``.
    size : int
        Height and width of its pictures.
    mode : {"tf", "torch", "caffe", "inside"}
        How they are prepared, in Keras' terms; ``"inside"``: the network does it, from 0..255.
    url : str
        The weights, with the classifier.
    digest : str or None
        MD5 or SHA-256 of that file; Keras has none for the first two MobileNets.
    licence : str
        Of the weights: an SPDX identifier, or ``"unknown"``.
    """

    module: str
    size: int
    mode: Mode
    url: str
    digest: str | None
    licence: str

    @property
    def file(self) -> str:
        """Name of the weight file in Keras' cache."""
        return self.url.rpartition("/")[2].lower().replace("nasnet-", "nasnet_")


# Family: mode, licence; then network: size, the end of its address, digest of the file.
_Row = tuple[int, str, str | None]
_FAMILIES: Mapping[str, tuple[Mode, str, str, Mapping[str, _Row]]] = {
    "convnext": (
        "inside",
        "unknown",
        _FOLDER,
        {
            "ConvNeXtBase": (
                224,
                "convnext/convnext_base.h5",
                "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
            ),
            "ConvNeXtLarge": (
                224,
                "convnext/convnext_large.h5",
                "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
            ),
            "ConvNeXtSmall": (
                224,
                "convnext/convnext_small.h5",
                "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
            ),
            "ConvNeXtTiny": (
                224,
                "convnext/convnext_tiny.h5",
                "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
            ),
            "ConvNeXtXLarge": (
                224,
                "convnext/convnext_xlarge.h5",
                "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
            ),
        },
    ),
    "densenet": (
        "torch",
        "BSD-3-Clause",
        _FOLDER,
        {
            "DenseNet121": (
                224,
                "densenet/densenet121_weights_tf_dim_ordering_tf_kernels.h5",
                "9d60b8095a5708f2dcce2bca79d332c7",
            ),
            "DenseNet169": (
                224,
                "densenet/densenet169_weights_tf_dim_ordering_tf_kernels.h5",
                "d699b8f76981ab1b30698df4c175e90b",
            ),
            "DenseNet201": (
                224,
                "densenet/densenet201_weights_tf_dim_ordering_tf_kernels.h5",
                "1ceb130c1ea1b78c3bf6114dbdfd8807",
            ),
        },
    ),
    "efficientnet": (
        "inside",
        "unknown",
        _BUCKET,
        {
            "EfficientNetB0": (
                224,
                "keras-applications/efficientnetb0.h5",
                "902e53a9f72be733fc0bcb005b3ebbac",
            ),
            "EfficientNetB1": (
                240,
                "keras-applications/efficientnetb1.h5",
                "1d254153d4ab51201f1646940f018540",
            ),
            "EfficientNetB2": (
                260,
                "keras-applications/efficientnetb2.h5",
                "b15cce36ff4dcbd00b6dd88e7857a6ad",
            ),
            "EfficientNetB3": (
                300,
                "keras-applications/efficientnetb3.h5",
                "ffd1fdc53d0ce67064dc6a9c7960ede0",
            ),
            "EfficientNetB4": (
                380,
                "keras-applications/efficientnetb4.h5",
                "18c95ad55216b8f92d7e70b3a046e2fc",
            ),
            "EfficientNetB5": (
                456,
                "keras-applications/efficientnetb5.h5",
                "ace28f2a6363774853a83a0b21b9421a",
            ),
            "EfficientNetB6": (
                528,
                "keras-applications/efficientnetb6.h5",
                "165f6e37dce68623721b423839de8be5",
            ),
            "EfficientNetB7": (
                600,
                "keras-applications/efficientnetb7.h5",
                "8c03f828fec3ef71311cd463b6759d99",
            ),
        },
    ),
    "efficientnet_v2": (
        "inside",
        "unknown",
        _FOLDER,
        {
            "EfficientNetV2B0": (
                224,
                "efficientnet_v2/efficientnetv2-b0.h5",
                "21ecbf6da12460d5c40bb2f29ceb2188",
            ),
            "EfficientNetV2B1": (
                240,
                "efficientnet_v2/efficientnetv2-b1.h5",
                "069f0534ff22adf035c89e2d9547a9dc",
            ),
            "EfficientNetV2B2": (
                260,
                "efficientnet_v2/efficientnetv2-b2.h5",
                "424e49f28180edbde1e94797771950a7",
            ),
            "EfficientNetV2B3": (
                300,
                "efficientnet_v2/efficientnetv2-b3.h5",
                "1f1fc43bd98a6e4fd8fdfd551e02c7a0",
            ),
            "EfficientNetV2L": (
                480,
                "efficientnet_v2/efficientnetv2-l.h5",
                "27e6d408b53c7ebc868fefa357689935",
            ),
            "EfficientNetV2M": (
                480,
                "efficientnet_v2/efficientnetv2-m.h5",
                "a3bf6aa3276309f4fc6a34aa114c95cd",
            ),
            "EfficientNetV2S": (
                384,
                "efficientnet_v2/efficientnetv2-s.h5",
                "e1d88a8495beba45748fedd0cecbe016",
            ),
        },
    ),
    "inception_resnet_v2": (
        "tf",
        "Apache-2.0",
        _FOLDER,
        {
            "InceptionResNetV2": (
                299,
                "inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
                "e693bd0210a403b3192acc6073ad2e96",
            ),
        },
    ),
    "inception_v3": (
        "tf",
        "Apache-2.0",
        _FOLDER,
        {
            "InceptionV3": (
                299,
                "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
                "9a0d58056eeedaa3f26cb7ebd46da564",
            ),
        },
    ),
    "mobilenet": (
        "tf",
        "Apache-2.0",
        _FOLDER,
        {
            "MobileNet": (224, "mobilenet/mobilenet_1_0_224_tf.h5", None),
        },
    ),
    "mobilenet_v2": (
        "tf",
        "Apache-2.0",
        _FOLDER,
        {
            "MobileNetV2": (
                224,
                "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
                None,
            ),
        },
    ),
    "mobilenet_v3": (
        "inside",
        "unknown",
        _FOLDER,
        {
            "MobileNetV3Large": (
                224,
                "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float.h5",
                "59e551e166be033d707958cf9e29a6a7",
            ),
            "MobileNetV3Small": (
                224,
                "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float.h5",
                "8768d4c2e7dee89b9d02b2d03d65d862",
            ),
        },
    ),
    "nasnet": (
        "tf",
        "Apache-2.0",
        _FOLDER,
        {
            "NASNetLarge": (331, "nasnet/NASNet-large.h5", "11577c9a518f0070763c2b964a382f17"),
            "NASNetMobile": (224, "nasnet/NASNet-mobile.h5", "020fb642bf7360b370c678b08e0adf61"),
        },
    ),
    "resnet": (
        "caffe",
        "MIT",
        _FOLDER,
        {
            "ResNet101": (
                224,
                "resnet/resnet101_weights_tf_dim_ordering_tf_kernels.h5",
                "f1aeb4b969a6efcfb50fad2f0c20cfc5",
            ),
            "ResNet152": (
                224,
                "resnet/resnet152_weights_tf_dim_ordering_tf_kernels.h5",
                "100835be76be38e30d865e96f2aaae62",
            ),
            "ResNet50": (
                224,
                "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5",
                "2cb95161c43110f7111970584f804107",
            ),
        },
    ),
    "resnet_v2": (
        "tf",
        "BSD-3-Clause",
        _FOLDER,
        {
            "ResNet101V2": (
                224,
                "resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels.h5",
                "6343647c601c52e1368623803854d971",
            ),
            "ResNet152V2": (
                224,
                "resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels.h5",
                "a49b44d1979771252814e80f8ec446f9",
            ),
            "ResNet50V2": (
                224,
                "resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels.h5",
                "3ef43a0b657b3be2300d5770ece849e0",
            ),
        },
    ),
    "vgg16": (
        "caffe",
        "CC-BY-4.0",
        _FOLDER,
        {
            "VGG16": (
                224,
                "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
                "64373286793e3c8b2b4e3219cbf3544b",
            ),
        },
    ),
    "vgg19": (
        "caffe",
        "CC-BY-4.0",
        _FOLDER,
        {
            "VGG19": (
                224,
                "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels.h5",
                "cbe5617147190e668d6c5d5026f83318",
            ),
        },
    ),
    "xception": (
        "tf",
        "MIT",
        _FOLDER,
        {
            "Xception": (
                299,
                "xception/xception_weights_tf_dim_ordering_tf_kernels.h5",
                "0a58e3b7378bc2990ea3b43d5981f1f6",
            ),
        },
    ),
}

APPLICATIONS: Mapping[str, Application] = {
    name: Application(module, size, mode, folder + address, digest, licence)
    for module, (mode, licence, folder, rows) in _FAMILIES.items()
    for name, (size, address, digest) in rows.items()
}
"""By name."""
