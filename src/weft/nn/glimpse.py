"""Glimpses: small windows of an image at several scales, and the recurrent network that decides where to look next.

Places are pairs (row, column) in [−1, 1]: (−1, −1) is the upper left corner of the image, (0, 0) its middle, (1, 1) the
lower right corner. Beyond the border everything is 0 (Mnih et al. 2014, arXiv:1406.6247, section 3.1).
"""

from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from ..core.pytree import static
from .dense import MLP, Linear, linear, mlp, relu

__all__ = ["Look", "RecurrentAttention", "crop", "recurrent_attention"]


def crop(
    image: Shaped[Array, "height width channel"], place: Float[Array, "2"], size: int, scales: int
) -> Float[Array, "scale size size channel"]:
    """Return the windows of `size · 2^k` pixels a side around a place, each averaged down to `size` by `size`.

    A window of w pixels around row p begins at the whole row nearest to `(p + 1) height / 2 − w / 2`. The average is
    over all pixels of a block, so that the coarse windows see everything, if less sharply.
    """
    channels = image.shape[-1]
    centre = (place + 1.0) / 2.0 * jnp.array(image.shape[:2], jnp.float32)
    patches = []
    for scale in range(scales):
        width = size * 2**scale
        # Wide enough that no window is moved back inside by the slice.
        border = width // 2 + 1
        padded = jnp.pad(image, ((border, border), (border, border), (0, 0)))
        corner = jnp.floor(centre - width / 2 + 0.5).astype(jnp.int32) + border
        window = jax.lax.dynamic_slice(padded, (corner[0], corner[1], 0), (width, width, channels))
        blocks = window.astype(jnp.float32).reshape(size, 2**scale, size, 2**scale, channels)
        patches.append(blocks.mean((1, 3)))
    return jnp.stack(patches)


class Look(eqx.Module):
    """What came of some glimpses.

    `place[t]` is drawn around `mean[t]` after glimpse t and is where glimpse t + 1 looks; `baseline[t]` is what was
    then expected of the answer.
    """

    logits: Float[Array, "... choice"]
    mean: Float[Array, "time ... 2"]
    place: Float[Array, "time ... 2"]
    baseline: Float[Array, "time ..."]


class RecurrentAttention(eqx.Module):
    """Glimpse, core, location, action and baseline networks of arXiv:1406.6247 (figure 1).

    `g = relu(join [what(crop(x, l)); where(l)])` and `h = relu(recur h + enter g)`; then `l ~ N(tanh(aim h), σ²)`, the
    logits `answer h` after the last glimpse, and the baseline `expect h`, which teaches the core nothing.
    """

    what: MLP
    where: MLP
    join: Linear
    enter: Linear
    recur: Linear
    aim: Linear
    answer: Linear
    expect: Linear
    size: int = static()
    scales: int = static()
    glimpses: int = static()
    plain: bool = static(default=False)

    def __call__(self, image: Shaped[Array, "..."], noise: Float[Array, "time ... 2"]) -> Look:
        """Look at images, the first time at their middle, and then where `noise` moves the means; 0 stays at them.

        `noise` may have further axes before those of the images: several looks at each. Images have no axis of
        channels where the network is `plain`.
        """
        image = image[..., None] if self.plain else image
        windows = jnp.vectorize(partial(crop, size=self.size, scales=self.scales), signature="(h,w,c),(d)->(s,p,q,c)")
        batch = noise.shape[1:-1]

        def glimpse(carry: tuple[Array, Array], chance: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
            hidden, place = carry
            # Looking is no differentiable act: places learn from the reward alone.
            seen = jax.lax.stop_gradient(jnp.clip(place, -1.0, 1.0))
            patches = windows(image, seen).reshape(*batch, -1) / 255.0
            parts = jnp.concatenate([relu(self.what(patches)), relu(self.where(seen))], axis=-1)
            hidden = relu(self.recur(hidden) + self.enter(relu(self.join(parts))))
            mean = jnp.tanh(self.aim(hidden))
            following = mean + chance
            baseline = self.expect(jax.lax.stop_gradient(hidden))[..., 0]
            return (hidden, following), (mean, following, baseline)

        start = jnp.zeros((*batch, self.recur.weight.shape[0])), jnp.zeros((*batch, 2))
        (hidden, _), (mean, place, baseline) = jax.lax.scan(glimpse, start, noise)
        return Look(self.answer(hidden), mean, place, baseline)

    def still(self, image: Shaped[Array, "..."]) -> Look:
        """Look without chance: every glimpse is at its mean."""
        batch = image.shape[: image.ndim - (2 if self.plain else 3)]
        return self(image, jnp.zeros((self.glimpses, *batch, 2)))


def recurrent_attention(
    key: PRNGKeyArray,
    shape: tuple[int, ...],
    choices: int,
    hidden: Sequence[int],
    size: int,
    scales: int,
    glimpses: int,
) -> RecurrentAttention:
    """Return a network for images of a shape `(height, width)` or `(height, width, channel)`.

    The last of `hidden`, the widths of both parts of a glimpse, is also that of the core.
    """
    what_key, where_key, join_key, enter_key, recur_key, aim_key, answer_key = jax.random.split(key, 7)
    core, channels = hidden[-1], shape[2] if len(shape) == 3 else 1
    return RecurrentAttention(
        what=mlp(what_key, (scales * size * size * channels, *hidden)),
        where=mlp(where_key, (2, *hidden)),
        join=linear(join_key, 2 * core, core, 2.0**0.5),
        enter=linear(enter_key, core, core),
        recur=linear(recur_key, core, core),
        aim=linear(aim_key, core, 2, 1e-2),
        answer=linear(answer_key, core, choices, 1e-2),
        expect=Linear(jnp.zeros((core, 1)), jnp.zeros(1)),
        size=size,
        scales=scales,
        glimpses=glimpses,
        plain=len(shape) == 2,
    )
