"""Named machine configurations."""

from systolith.rtl.config import Config, ConfigError

PRESETS: dict[str, tuple[Config, str]] = {
    "nano": (Config(name="nano", rows=4, cols=4, memory_bytes=128 * 1024, banks=2, word_bytes=4,
                    accumulator_rows=256, vector_lanes=1, depthwise_lanes=0, softmax_lanes=0, norm_lanes=0,
                    external_bytes=0, codec_lanes=0, instruction_slots=1, multiplier="ice40", activation_products=0),
             "iCE40 UP5K: 16 products in 8 DSPs"),
    "micro": (Config(name="micro", rows=8, cols=8, memory_bytes=96 * 1024, banks=4, word_bytes=8,
                     accumulator_rows=512, vector_lanes=2, depthwise_lanes=0, softmax_lanes=0, norm_lanes=0,
                     external_bytes=0, codec_lanes=0, instruction_slots=4, multiplier="ecp5", activation_products=0),
              "ECP5-45k and -85k: one product a DSP"),
    "edge": (Config(name="edge"), "ASIC and simulation; the reference for every figure"),
    "large": (Config(name="large", rows=32, cols=32, memory_bytes=2 * 1024 * 1024, banks=8, word_bytes=32,
                     accumulator_rows=512, vector_lanes=32, softmax_lanes=8, norm_lanes=8, external_bytes=8),
              "simulation, larger parts and ASIC"),
}


def preset(name: str) -> Config:
    """The configuration of that name; `ConfigError` lists the names there are."""
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name][0]
