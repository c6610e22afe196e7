"""Networks, distributions, losses and one step of gradient descent."""
