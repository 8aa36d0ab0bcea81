"""Configurations: what cannot work says why."""

import pytest

from systolith.gen.presets import PRESETS, preset
from systolith.rtl.config import Config, ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    config = preset(name)
    assert config.name == name and Config.from_json(config.to_json()) == config


@pytest.mark.parametrize("changes, sentence", [
    ({"rows": 0}, "rows must be from 1 to 128, not 0"), ({"rows": "x"}, "rows must be a whole number, not 'x'"),
    ({"rows": 32}, r"word_bytes must be at least rows and cols \(32\), not 16"),
    ({"banks": 3}, "banks must be a power of two"),
    ({"banks": 1}, "banks must be at least 2"), ({"memory_bytes": 100}, "memory_bytes must be a multiple"),
    ({"external_bytes": 3}, "external_bytes must be 0 or a power of two"),
    ({"multiplier": "x"}, "multiplier must be one of"),
    ({"activation_products": 2}, "activation_products must be 0 or 1, not 2"),
    ({"multiplier": "ice40", "activation_products": 1}, "activation_products must be 0 with multiplier ice40"),
    ({"queue_words": 8}, "queue_words must hold"), ({"speed": 1}, "a configuration has no 'speed'"),
    ({"vector_lanes": 32}, "vector_lanes must be at most word_bytes"), ({"watchdog_cycles": 1}, "watchdog_cycles"),
])
def test_bad_numbers(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        preset("edge").replace(**changes)


def test_products_of_activations():
    for name, products in (("nano", 0), ("micro", 0), ("edge", 1), ("large", 1)):
        assert preset(name).activation_products == products
    assert preset("edge").replace(multiplier="ice40").activation_products == 0


def test_bad_names_and_files():
    with pytest.raises(ConfigError, match="there is no preset 'big'; there are nano, micro"):
        preset("big")
    with pytest.raises(ConfigError, match="not JSON"):
        Config.from_json("{")
    with pytest.raises(ConfigError, match="JSON object"):
        Config.from_json("[]")
