"""Networks that the project builds by itself, for benchmarks."""

import re

from systolith.gen.errors import UserError
from systolith.gen.graph import Graph

from .ad import ad
from .decoder import decoder_block
from .ds_cnn import ds_cnn
from .minilm import minilm
from .mobilenetv2 import mobilenetv2
from .network import Network
from .resnet8 import resnet8
from .resnet50 import resnet50, resnet50_v15
from .roberta import roberta_base, roberta_layer, roberta_mlm
from .transformer import Transformer
from .vit import vit_tiny
from .vww import vww
from .yolov5s import yolov5s_relu, yolov5s_silu

ZOO: dict[str, Network] = {network.name: network for network in (
    resnet8, ds_cnn, vww, ad, resnet50, resnet50_v15, mobilenetv2, yolov5s_relu, yolov5s_silu,
    roberta_base, roberta_mlm, roberta_layer, vit_tiny, decoder_block, minilm)}
"""Networks by name; weights are seeded random numbers, but for minilm."""


def from_name(text: str) -> Graph | None:
    """The graph that NAME, NAME@SIZE or NAME@SIZExLAYERS means; None where there is no such name, `UserError` for what
    it cannot have."""
    match = re.fullmatch(r"(.+?)(?:@([0-9]{1,5})(?:x([0-9]{1,3}))?)?", text)
    if not match or match[1] not in ZOO:
        return None
    network, size = ZOO[match[1]], int(match[2]) if match[2] else None
    if not match[3]:
        return network(size)
    if not isinstance(network, Transformer):
        raise UserError(f"{network.name} has one number of layers; leave out x{match[3]}")
    return network(size, layers=int(match[3]))
