"""Where and when: blocks of output rows, order, and addresses in the unified memory."""
