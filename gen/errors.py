"""What a user did wrong, said in one sentence."""


class UserError(Exception):
    """Bad input: the message names the thing, its value and what to do. The command line prints it and exits with 2."""
