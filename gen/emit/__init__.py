"""From a scheduled graph to the bytes that a machine executes."""
