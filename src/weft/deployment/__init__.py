"""Whether, how far and in which form a policy may go live."""
