"""Small language models in floating point: what the machine's own are quantised from and compared with."""
