"""Text for networks that read it: tokens, trained weights, sentences to calibrate on."""
