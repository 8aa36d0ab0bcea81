"""Activation codec in numpy: the same bytes as the hardware's, and models of other codecs to compare it with."""

from .decode import DamagedTile, decode_tile
from .encode import encode_tile
from .tensor import CodedTensor, choose_coding, codings, decode_tensor, default_tile, encode_tensor, measure_tensor

__all__ = ["CodedTensor", "DamagedTile", "choose_coding", "codings", "decode_tensor", "decode_tile", "default_tile",
           "encode_tensor", "encode_tile", "measure_tensor"]
