"""The cases of make_twins.py: d3rlpy's settings, and the exact meaning of every step in words."""

import dataclasses
import types
from collections.abc import Callable
from typing import Any

import d3rlpy
import torch
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.models.q_functions import QRQFunctionFactory
from d3rlpy.models.torch import build_gaussian_distribution, get_parameter

BATCH_SIZE = 8
OBSERVATION_SIZE = 3
ACTION_SIZE = 2
DISCRETE_ACTIONS = 3
HIDDEN_UNITS = [16, 16]
UPDATES = 10
SAMPLES = 10
WARM_UP = 3
THRESHOLD = 0.8

ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}
ADAM_NOTE = (
    "Adam as in the paper: the step is learning_rate * m_hat / (sqrt(v_hat) + epsilon), bias-corrected, "
    "epsilon outside the root (optax.adam with eps=1e-8, eps_root=0). One optimiser holds both critics; since "
    "Adam works element by element, this equals one optimiser per critic. No gradient clipping, no weight decay."
)
NETWORK_NOTE = (
    "Random numbers were added to all initial weights, so that no network equals its target network at the start. "
    "Every network is a plain multilayer perceptron with ReLU after each of the two hidden layers and none "
    "after the output. Weights are stored as (in, out), so a layer is x @ weight + bias. A critic of continuous "
    "actions takes concatenate([observation, action], axis=-1) and gives one number."
)
BATCH_NOTE = (
    "The same batch is used for all ten updates. rewards and terminals have shape (8,), terminals are 0 or 1. "
    "No scaling of observations, actions or rewards."
)

PLAIN_NOTE = "Nothing was changed in the peer: these are the numbers of the package as installed."


def leave(implementation: Any) -> None:
    """Change nothing in d3rlpy's implementation."""


@dataclasses.dataclass(frozen=True)
class Twin:
    """One case: d3rlpy's settings, its description, and the names of its draws in the order of drawing.

    `prepare` may change the implementation after its weights were moved. The first `warm_up` updates draw
    `warm_up_noise`, the others `noise`.
    """

    config: Any
    description: dict[str, Any]
    noise: tuple[str, ...] = ()
    discrete: bool = False
    prepare: Callable[[Any], None] = leave
    warm_up: int = 0
    warm_up_noise: tuple[str, ...] = ()


def shared_settings() -> dict[str, Any]:
    """Return the d3rlpy settings that the continuous algorithms share."""
    return {
        "batch_size": BATCH_SIZE,
        "gamma": 0.97,
        "tau": 0.05,
        "actor_learning_rate": 1e-3,
        "critic_learning_rate": 3e-3,
        "actor_encoder_factory": VectorEncoderFactory(HIDDEN_UNITS),
        "critic_encoder_factory": VectorEncoderFactory(HIDDEN_UNITS),
    }


def shared_description() -> dict[str, Any]:
    """Return the hyperparameters of shared_settings under plain names."""
    return {
        "batch_size": BATCH_SIZE,
        "observation_size": OBSERVATION_SIZE,
        "hidden_sizes": HIDDEN_UNITS,
        "discount": 0.97,
        "polyak_rate": 0.05,
        "critics": 2,
        "actor_learning_rate": 1e-3,
        "critic_learning_rate": 3e-3,
        "adam": ADAM,
        "updates": UPDATES,
    }


def td3_bc() -> Twin:
    """Describe TD3+BC."""
    config = d3rlpy.algos.TD3PlusBCConfig(
        alpha=2.5,
        update_actor_interval=2,
        target_smoothing_sigma=0.2,
        target_smoothing_clip=0.3,
        **shared_settings(),
    )
    description = {
        "hyperparameters": shared_description()
        | {
            "action_size": ACTION_SIZE,
            "alpha": 2.5,
            "actor_interval": 2,
            "target_noise": 0.2,
            "target_noise_clip": 0.3,
        },
        "semantics": {
            "networks": NETWORK_NOTE,
            "optimiser": ADAM_NOTE,
            "batch": BATCH_NOTE,
            "policy": "action = tanh(actor(observation)); deterministic.",
            "order": (
                "Update k = 0..9: (1) step of both critics. (2) Only if k % actor_interval == 0, that is in "
                "updates 0, 2, 4, 6, 8 (the very first update is one of them): step of the actor with the "
                "critics as updated in (1); then Polyak update of both target critics and of the target actor. "
                "In updates 1, 3, 5, 7, 9 actor, target actor and target critics do not change. (The authors' "
                "code counts from 1, so there the first update would leave the actor alone.)"
            ),
            "target": (
                "noise = clip(target_noise * n, -target_noise_clip, target_noise_clip) with n the array "
                "noise/update{k}/target_smoothing (standard normal, drawn in every update); next_action = "
                "clip(tanh(target_actor(next_observation)) + noise, -1, 1); y = reward + discount * (1 - "
                "terminal) * min over the two target critics of Q(next_observation, next_action). No gradient."
            ),
            "critic_loss": "sum over the two critics of mean over the batch of (Q - y)^2; no factor one half.",
            "actor_loss": (
                "action = tanh(actor(observation)); q = critic0(observation, action) (first critic only); weight = "
                "alpha / mean(|q|), without gradient; bc_loss = mean over batch AND action dimensions of "
                "(data_action - action)^2; actor_loss = -weight * mean(q) + bc_loss."
            ),
            "polyak": "target = (1 - polyak_rate) * target + polyak_rate * online, after the actor's step.",
            "losses": (
                "losses/critic_loss, losses/actor_loss, losses/bc_loss: values before the step they belong to; "
                "the actor's are NaN in updates without an actor step."
            ),
        },
    }
    return Twin(config, description, ("target_smoothing",))


def cql(soft_backup: bool) -> Twin:
    """Describe CQL(H) with a fixed conservative weight."""
    config = d3rlpy.algos.CQLConfig(
        temp_learning_rate=2e-2,
        alpha_learning_rate=0.0,
        initial_alpha=1.0,
        initial_temperature=0.7,
        alpha_threshold=0.0,
        conservative_weight=5.0,
        n_action_samples=SAMPLES,
        soft_q_backup=soft_backup,
        **shared_settings(),
    )
    if soft_backup:
        target = (
            "a', log_prob' = one sample of the CURRENT (online) actor at next_observation with the noise "
            "noise/update{k}/target; y = reward + discount * (1 - terminal) * (min over the two target critics "
            "of Q(next_observation, a') - temperature * log_prob'), temperature = exp(log_temperature) as it is "
            "before this update. No gradient."
        )
    else:
        target = (
            "a' = tanh(mean(next_observation)) of the CURRENT (online) actor: no noise, no target actor and no "
            "entropy term; y = reward + discount * (1 - terminal) * min over the two target critics of "
            "Q(next_observation, a'). No gradient. (d3rlpy's default, soft_q_backup=False.)"
        )
    description = {
        "hyperparameters": shared_description()
        | {
            "action_size": ACTION_SIZE,
            "conservative_weight": 5.0,
            "action_samples_per_source": SAMPLES,
            "temperature_learning_rate": 2e-2,
            "initial_temperature": 0.7,
            "target_entropy": -float(ACTION_SIZE),
            "log_std_min": -20.0,
            "log_std_max": 2.0,
            "soft_backup": soft_backup,
        },
        "semantics": {
            "networks": NETWORK_NOTE
            + " The actor has two heads on its second hidden layer: actor/mean and actor/log_std.",
            "optimiser": ADAM_NOTE + " The scalar log_temperature has an Adam of its own.",
            "batch": BATCH_NOTE,
            "policy": (
                "Squashed Gaussian: log_std = clip(log_std_head, -20, 2); u = mean + exp(log_std) * noise; action "
                "= tanh(u); log_prob = sum over action dimensions of [Normal(mean, std).log_prob(u) - 2 * (log 2 "
                "- u - softplus(-2 * u))], taken at the unsquashed u (no atanh, no epsilon)."
            ),
            "order": (
                "Every update: (1) critic step (both critics, with the old actor and the old temperature); (2) "
                "sample actions of the old actor, make the temperature step with their log_prob; (3) actor step "
                "with the same sample, the NEW temperature of (2) and the NEW critics of (1); (4) Polyak update of "
                "the target critics. There is no target actor."
            ),
            "target": target,
            "critic_loss": (
                "critic_loss = sum over both critics of [mean over the batch of (Q(s, a) - y)^2 (no one half) + "
                "conservative_weight * mean over the batch of (logsumexp_30 - Q(s, a))]. The data action's Q in "
                "the conservative term has its gradient. (d3rlpy multiplies by a further alpha, here fixed to 1, "
                "and subtracts a threshold, here 0.)"
            ),
            "logsumexp": (
                "Over the 30 numbers of one state and one critic, without subtracting log 30 or log 10: ten "
                "Q(s, a_i) - log_prob(a_i) with a_i from the actor at s (noise/update{k}/policy_current); ten "
                "Q(s, a_i) - log_prob(a_i) with a_i from the actor at the NEXT observation and that state's "
                "log_prob, but Q at the CURRENT observation (noise/update{k}/policy_next); ten Q(s, a_i) - log(0.5 "
                "** action_size) with a_i = noise/update{k}/uniform, which are actions in [-1, 1]. Both critics "
                "see the same samples. The data action is not among the 30. Sampled actions and log_probs carry "
                "no gradient to the actor; the Q values carry theirs to the critics. Terminal rows are not masked."
            ),
            "temperature_loss": (
                "-mean over the batch of exp(log_temperature) * (log_prob + target_entropy), target_entropy = "
                "-action_size, gradient with respect to log_temperature only; log_prob is that of the actor's "
                "sample at observation with noise/update{k}/actor."
            ),
            "actor_loss": (
                "mean over the batch of exp(log_temperature) * log_prob - min over the two critics of Q(s, a), a "
                "and log_prob reparameterised with noise/update{k}/actor; temperature after its step, constant."
            ),
            "polyak": "target = (1 - polyak_rate) * target + polyak_rate * online, every update, last.",
            "noise": (
                "Drawn in this order: "
                + ("target (8, 2), " if soft_backup else "")
                + "policy_current, policy_next (standard normal) and uniform (in [-1, 1]), all three stored as "
                "(batch, samples, action) = (8, 10, 2), then actor (8, 2) standard normal."
            ),
            "losses": (
                "losses/critic_loss (whole), losses/conservative_loss (the weighted conservative part, summed over "
                "critics), losses/actor_loss, losses/temp_loss: before their steps. losses/temp: the temperature "
                "AFTER its step. losses/alpha: constant 1."
            ),
        },
    }
    noise = ("policy_current", "policy_next", "uniform", "actor")
    return Twin(config, description, ("target", *noise) if soft_backup else noise)


def discrete_cql() -> Twin:
    """Describe discrete CQL on double DQN."""
    config = d3rlpy.algos.DiscreteCQLConfig(
        learning_rate=3e-3,
        batch_size=BATCH_SIZE,
        gamma=0.97,
        n_critics=1,
        target_update_interval=4,
        alpha=2.0,
        encoder_factory=VectorEncoderFactory(HIDDEN_UNITS),
    )
    description = {
        "hyperparameters": {
            "batch_size": BATCH_SIZE,
            "observation_size": OBSERVATION_SIZE,
            "actions": DISCRETE_ACTIONS,
            "hidden_sizes": HIDDEN_UNITS,
            "discount": 0.97,
            "critics": 1,
            "learning_rate": 3e-3,
            "conservative_weight": 2.0,
            "target_interval": 4,
            "huber_threshold": 1.0,
            "adam": ADAM,
            "updates": UPDATES,
        },
        "semantics": {
            "networks": NETWORK_NOTE + " Here there is one critic, which gives one number per action.",
            "optimiser": ADAM_NOTE,
            "batch": BATCH_NOTE + " actions are stored as float32 whole numbers 0..2, shape (8,).",
            "order": (
                "Update k = 0..9: (1) critic step; (2) if k % target_interval == 0, that is after updates 0, 4 and "
                "8, copy the critic to the target critic (hard copy, no Polyak averaging)."
            ),
            "target": (
                "Double DQN: a' = argmax of the ONLINE critic at next_observation; y = reward + discount * (1 - "
                "terminal) * target_critic(next_observation)[a']. No gradient."
            ),
            "critic_loss": (
                "loss = td_loss + conservative_weight * conservative_loss; td_loss = mean over the batch of "
                "Huber(y - Q[a]) with Huber(d) = d^2 / 2 if |d| < 1, else |d| - 1/2; conservative_loss = mean over "
                "the batch of (logsumexp over all actions of Q - Q[a]); the data action is included in the "
                "logsumexp; both terms have gradients. No factor one half on the conservative term."
            ),
            "losses": "losses/loss, losses/td_loss, losses/conservative_loss (not weighted): before the step.",
        },
    }
    return Twin(config, description, discrete=True)


GAUSSIAN_NOTE = (
    "Gaussian whose MEAN alone goes through tanh: a ~ Normal(tanh(mean_head), exp(log_std)), and a sampled action is "
    "clip(tanh(mean_head) + exp(log_std) * n, -1, 1), n standard normal. log_prob(a) = sum over action dimensions of "
    "Normal(tanh(mean_head), exp(log_std)).log_prob(a), with no correction for tanh or clipping. "
)
MIX_NOTE = (
    "For every one of the ten actions the two target critics are mixed: mix = soft_min_weight * min + (1 - "
    "soft_min_weight) * max over the two critics (0.75 on the minimum, 0.25 on the maximum). The maximum over the ten "
    "actions is taken AFTER this mix."
)


def noise_order(main: tuple[str, ...], warm_up: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return the part of the description that lists the draws in the order of drawing."""
    return {"noise_order": {"main": list(main)} | ({} if warm_up is None else {"warm_up": list(warm_up)})}


def awac(soft_target: bool) -> Twin:
    """Describe AWAC, with the peer's entropy-regularised target or with a plain one."""
    noise = ("target", "baseline")
    config = d3rlpy.algos.AWACConfig(lam=0.5, n_action_samples=4, **shared_settings())
    if soft_target:
        target = (
            "u' = mean_head(next_observation) + exp(log_std) * noise/update{k}/target of the CURRENT (online) actor; "
            "a' = tanh(u'), that is a SQUASHED Gaussian here, although the same actor is a Gaussian with tanh on its "
            "mean everywhere else; log_prob' = sum over action dimensions of [Normal(mean_head, exp(log_std))."
            "log_prob(u') - 2 * (log 2 - u' - softplus(-2 * u'))]; y = reward + discount * (1 - terminal) * (min over "
            "the two target critics of Q(next_observation, a') - entropy_weight * log_prob'), entropy_weight = 1, "
            "constant. No gradient. (The peer inherits this from its SAC, with a temperature that stays exp(0) = 1; "
            "neither the paper nor the authors' code has an entropy term.)"
        )
        changed = PLAIN_NOTE
    else:
        target = (
            "a' = clip(tanh(mean_head(next_observation)) + exp(log_std) * noise/update{k}/target, -1, 1), one sample "
            "of the CURRENT (online) actor; y = reward + discount * (1 - terminal) * min over the two target critics "
            "of Q(next_observation, a'). No entropy term. No gradient."
        )
        changed = (
            "The peer's target was replaced: as installed it samples a squashed Gaussian and subtracts its log "
            "density (fixture awac). All else is the peer's."
        )

    def prepare(implementation: Any) -> None:
        with torch.no_grad():
            implementation.policy._logstd.add_(1.5)  # a wider actor, so that log densities are of moderate size
        if soft_target:
            return

        def compute_target(batch: Any) -> torch.Tensor:
            with torch.no_grad():
                action = build_gaussian_distribution(implementation.policy(batch.next_observations)).sample()
                return implementation._targ_q_func_forwarder.compute_target(batch.next_observations, action, "min")

        implementation.compute_target = compute_target

    description = noise_order(noise) | {
        "hyperparameters": shared_description()
        | {
            "action_size": ACTION_SIZE,
            "temperature": 0.5,
            "action_samples": 4,
            "entropy_weight": 1.0 if soft_target else 0.0,
            "log_std_min": -6.0,
            "log_std_max": 0.0,
        },
        "semantics": {
            "changed": changed,
            "networks": NETWORK_NOTE
            + " The actor has layer0, layer1 and the linear head actor/mean. Its standard deviation does not depend on "
            "the state: actor/log_std_logit is a vector of shape (2,), and log_std = log_std_min + (log_std_max - "
            "log_std_min) * sigmoid(log_std_logit). There is no target actor.",
            "optimiser": ADAM_NOTE + " One Adam for the actor; log_std_logit is among its parameters.",
            "batch": BATCH_NOTE,
            "policy": GAUSSIAN_NOTE,
            "order": (
                "Every update: (1) step of both critics, target from the old actor; (2) step of the actor, with "
                "advantages from the NEW critics and the old actor; (3) Polyak update of the target critics."
            ),
            "target": target,
            "critic_loss": "sum over the two critics of mean over the batch of (Q(s, a) - y)^2; no factor one half.",
            "advantage": (
                "A = min over the two critics of Q(s, data action) - mean over the four samples of [min over the two "
                "critics of Q(s, a_i)], a_i = clip(tanh(mean_head(s)) + exp(log_std) * noise/update{k}/baseline[:, i], "
                "-1, 1). Online critics. No gradient."
            ),
            "actor_loss": (
                "weight = batch_size * softmax over the BATCH of (A / temperature), so the weights of a batch sum to "
                "8; no cap, no gradient. actor_loss = -SUM over the batch of weight * log_prob(data action) (a sum, "
                "not a mean; Adam's steps do not see the factor)."
            ),
            "polyak": "target = (1 - polyak_rate) * target + polyak_rate * online, every update, last.",
            "noise": (
                "Drawn in this order, all standard normal: target (8, 2); baseline, stored as (batch, samples, "
                "action) = (8, 4, 2)."
            ),
            "losses": (
                "losses/critic_loss, losses/actor_loss: before their steps. losses/temp and losses/temp_loss: constant "
                "0, no meaning."
            ),
        },
    }
    return Twin(config, description, noise, prepare=prepare)


def crr(weighting: str, advantage: str, target_update: str) -> Twin:
    """Describe CRR with one filter, one baseline and one kind of target update."""
    noise = ("target", "baseline")
    beta, largest = (0.1, 1.2) if weighting == "exp" else (1.0, 20.0)
    config = d3rlpy.algos.CRRConfig(
        beta=beta,
        max_weight=largest,
        n_action_samples=4,
        n_critics=2,
        weight_type=weighting,
        advantage_type=advantage,
        target_update_type=target_update,
        target_update_interval=4,
        **shared_settings(),
    )
    hard = target_update == "hard"
    if hard:
        copies = (
            "Hard copies: if k % target_interval == 0, that is after updates 0, 4 and 8, the critics are copied to the "
            "target critics and the actor to the target actor; no averaging, polyak_rate is not used."
        )
    else:
        copies = (
            "target = (1 - polyak_rate) * target + polyak_rate * online, after every update, for both target critics "
            "and the target actor."
        )
    weight = {
        "binary": "weight = 1 where A > 0, else 0 (a sharp step, 0 at equality).",
        "exp": "weight = min(exp(A / temperature), largest_weight); in some updates some rows reach the cap.",
    }[weighting]
    description = noise_order(noise) | {
        "hyperparameters": shared_description()
        | {
            "action_size": ACTION_SIZE,
            "weighting": weighting,
            "baseline": advantage,
            "target_update": target_update,
            "target_interval": 4 if hard else None,
            "temperature": beta if weighting == "exp" else None,
            "largest_weight": largest if weighting == "exp" else None,
            "action_samples": 4,
            "log_std_min": -20.0,
            "log_std_max": 2.0,
        }
        | ({"polyak_rate": None} if hard else {}),
        "semantics": {
            "changed": PLAIN_NOTE,
            "networks": NETWORK_NOTE
            + " The actor and the target actor have two linear heads on the second hidden layer: mean and log_std.",
            "optimiser": ADAM_NOTE,
            "batch": BATCH_NOTE,
            "policy": GAUSSIAN_NOTE + "log_std = clip(log_std_head(s), log_std_min, log_std_max).",
            "order": (
                "Update k = 0..9: (1) step of both critics; (2) step of the actor, with advantages from the NEW "
                "critics and the old actor; (3) update of the target critics and of the target actor (see targets)."
            ),
            "target": (
                "a' = clip(tanh(mean_head) + exp(log_std) * noise/update{k}/target, -1, 1), one sample of the TARGET "
                "actor at next_observation (mean and log_std are the target actor's); y = reward + discount * (1 - "
                "terminal) * MIN over the two target critics of Q(next_observation, a'). No gradient."
            ),
            "critic_loss": "sum over the two critics of mean over the batch of (Q(s, a) - y)^2; no factor one half.",
            "advantage": (
                "Qm = MEAN over the two online critics (not the minimum). A = Qm(s, data action) - "
                + ("mean" if advantage == "mean" else "maximum")
                + " over the four samples of Qm(s, a_i), a_i = clip(tanh(mean_head(s)) + exp(log_std) * "
                "noise/update{k}/baseline[:, i], -1, 1) of the online actor. No gradient."
            ),
            "actor_loss": weight + " actor_loss = -mean over the batch of weight * log_prob(data action). No gradient "
            "through the weight.",
            "targets": copies,
            "noise": (
                "Drawn in this order, all standard normal: target (8, 2); baseline, stored as (batch, samples, "
                "action) = (8, 4, 2)."
            ),
            "losses": "losses/critic_loss, losses/actor_loss: before their steps.",
        },
    }
    return Twin(config, description, noise)


def swap_squash(implementation: Any) -> None:
    """Make the decoder's argument with_squash mean what its name says."""
    decoder = implementation._modules.vae_decoder
    original = decoder.forward

    def forward(x: torch.Tensor, latent: torch.Tensor, with_squash: bool = True) -> torch.Tensor:
        return original(x, latent, not with_squash)

    decoder.forward = forward


def spread_decoder(implementation: Any, factor: float) -> None:
    """Make the decoder's outputs larger, so that some actions of the perturbation model reach -1 or 1."""
    layer = implementation._modules.vae_decoder._fc
    with torch.no_grad():
        layer.weight.mul_(factor)
        layer.bias.mul_(factor)


def vae_description(squashed: bool) -> dict[str, str]:
    """Return the meaning of the variational auto-encoder that BCQ and BEAR share."""
    return {
        "vae_networks": (
            "vae_encoder takes concatenate([observation, action], -1) through layer0, layer1 (ReLU after each) to two "
            "linear heads mean and log_std of latent_size = 2 * action_size = 4 numbers; log_std = clip(log_std_head, "
            "latent_log_std_min, latent_log_std_max) = clip(., -4, 15). vae_decoder takes concatenate([observation, "
            "latent], -1) through layer0, layer1 (ReLU after each) to the linear layer2 of action_size numbers, raw; "
            + (
                "decode(s, z) = tanh(raw)."
                if squashed
                else "decode(s, z) = raw, WITHOUT tanh (in the peer the argument with_squash=True of the decoder, its "
                "default, returns the raw output, and False the tanh of it)."
            )
            + " Neither has a target network."
        ),
        "vae_loss": (
            "z = mean + exp(log_std) * noise/update{k}/vae (not clipped here); vae_loss = mean over batch AND action "
            "dimensions of (decode(s, z) - data_action)^2 + kl_weight * mean over batch AND latent dimensions of "
            "[(exp(2 * log_std) + mean^2 - 1) / 2 - log_std]. Gradients to encoder and decoder, one Adam for both."
        ),
        "latents": "Latents that are not of the encoder are standard normal numbers clipped to [-0.5, 0.5].",
    }


def bcq(squashed: bool) -> Twin:
    """Describe BCQ, as installed or with a decoder that ends in tanh."""

    def prepare(implementation: Any) -> None:
        spread_decoder(implementation, 8.0 if squashed else 3.0)
        if squashed:
            swap_squash(implementation)

    noise = ("vae", "target_latent", "actor_latent")
    config = d3rlpy.algos.BCQConfig(
        imitator_learning_rate=2e-3,
        imitator_encoder_factory=VectorEncoderFactory(HIDDEN_UNITS),
        n_critics=2,
        lam=0.75,
        n_action_samples=SAMPLES,
        action_flexibility=0.2,
        rl_start_step=0,
        beta=0.5,
        **shared_settings(),
    )
    changed = (
        "The decoder's switch was turned: as installed the peer trains and uses the decoder's raw output without tanh "
        "(fixture bcq). All else is the peer's."
    )
    description = noise_order(noise) | {
        "hyperparameters": shared_description()
        | {
            "action_size": ACTION_SIZE,
            "latent_size": 2 * ACTION_SIZE,
            "vae_learning_rate": 2e-3,
            "vae_hidden_sizes": HIDDEN_UNITS,
            "kl_weight": 0.5,
            "latent_clip": 0.5,
            "latent_log_std_min": -4.0,
            "latent_log_std_max": 15.0,
            "perturbation": 0.2,
            "action_samples": SAMPLES,
            "soft_min_weight": 0.75,
            "squashed_decoder": squashed,
        },
        "semantics": {
            "changed": changed if squashed else PLAIN_NOTE,
            "networks": NETWORK_NOTE
            + " The actor (and target_actor) is the perturbation model: it takes concatenate([observation, action], "
            "-1) and gives action_size numbers (layer0, layer1, layer2).",
            **vae_description(squashed),
            "optimiser": ADAM_NOTE + " Three optimisers: VAE, critics, actor.",
            "batch": BATCH_NOTE,
            "policy": (
                "perturbed(net, s, a) = clip(a + perturbation * tanh(net(s, a)), -1, 1); the given action a itself is "
                "not clipped before."
            ),
            "order": (
                "Every update, from the first one on: (1) VAE step; (2) step of both critics (NEW decoder, old target "
                "actor, old target critics); (3) step of the actor (NEW decoder, NEW critics); (4) Polyak update of "
                "both target critics and of the target actor."
            ),
            "target": (
                "Ten candidates per row: a_i = perturbed(target_actor, next_observation, decode(next_observation, "
                "clip(noise/update{k}/target_latent[:, i], -0.5, 0.5))). " + MIX_NOTE + " y = reward + discount * (1 - "
                "terminal) * max_i mix(next_observation, a_i). No gradient."
            ),
            "critic_loss": "sum over the two critics of mean over the batch of (Q(s, a) - y)^2; no factor one half.",
            "actor_loss": (
                "a = perturbed(actor, s, decode(s, clip(noise/update{k}/actor_latent, -0.5, 0.5))); actor_loss = -mean "
                "over the batch of critic0(s, a) (first critic only). Gradient with respect to the actor only; where "
                "the clip to [-1, 1] binds (it does in some rows) it is zero."
            ),
            "polyak": "target = (1 - polyak_rate) * target + polyak_rate * online, every update, last.",
            "noise": (
                "Drawn in this order, all standard normal and stored before clipping: vae (8, 4); target_latent, "
                "stored as (batch, samples, latent) = (8, 10, 4); actor_latent (8, 4)."
            ),
            "losses": "losses/vae_loss, losses/critic_loss, losses/actor_loss: before their steps.",
        },
    }
    return Twin(config, description, noise, prepare=prepare)


def bear(repaired: bool, plain: bool = False) -> Twin:
    """Describe BEAR with a warm-up of three updates: as installed, with two repairs, or also without entropy."""
    mmd_noise = ("mmd_behaviour_latent", "mmd_policy")
    warm_up_noise, noise = ("vae", "target", *mmd_noise), ("vae", "target", "actor", *mmd_noise)
    kernel = "gaussian" if repaired and not plain else "laplacian"
    temperature, temperature_rate = (1e-30, 0.0) if plain else (0.7, 2e-2)
    multiplier_rate = 2e-2 if plain else 1e-3
    settings = shared_settings()
    config = d3rlpy.algos.BEARConfig(
        imitator_learning_rate=2e-3,
        temp_learning_rate=temperature_rate,
        alpha_learning_rate=settings["actor_learning_rate"],
        imitator_encoder_factory=VectorEncoderFactory(HIDDEN_UNITS),
        n_critics=2,
        initial_temperature=temperature,
        initial_alpha=1.5,
        alpha_threshold=0.05,
        lam=0.75,
        n_target_samples=SAMPLES,
        n_mmd_action_samples=4,
        mmd_kernel=kernel,
        mmd_sigma=2.0,
        vae_kl_weight=0.5,
        warmup_steps=WARM_UP,
        **settings,
    )

    def repair(implementation: Any) -> None:
        swap_squash(implementation)
        log_alpha, optimiser = get_parameter(implementation._modules.log_alpha), implementation._modules.alpha_optim
        optimiser.optim.param_groups[0]["lr"] = multiplier_rate

        def update_alpha(mmd_loss: torch.Tensor) -> None:
            optimiser.zero_grad()
            (-mmd_loss).backward(inputs=[log_alpha], retain_graph=True)
            optimiser.step()
            log_alpha.data.clamp_(-5.0, 10.0)

        implementation.update_alpha = update_alpha

    if repaired:
        changed = (
            "Two things in the peer were repaired. (1) The step of log_alpha puts its gradient on log_alpha alone; as "
            "installed it also leaves MINUS the gradient of the MMD term in the actor's gradient, where it cancels the "
            "MMD term of the actor's loss (fixture bear). (2) The decoder's switch was turned, so that the VAE is "
            "trained with tanh and the MMD compares numbers before tanh on both sides. All else is the peer's."
        )
        if plain:
            changed += (
                " Two settings say the rest: exp(log_temperature) is 1e-30 and never moves, so that no entropy term is "
                "left in target and actor_loss; and the learning rate of log_alpha was put into its optimiser."
            )
        behaviour, actor = (
            "b_j = raw output of the decoder, BEFORE tanh,",
            "actor_loss = sac_loss + mmd_loss. Gradient of both terms with respect to the actor.",
        )
    else:
        changed = PLAIN_NOTE
        behaviour, actor = (
            "b_j = TANH of the raw output of the decoder",
            "The reported actor_loss = sac_loss + mmd_loss, but the GRADIENT OF THE ACTOR IS THAT OF sac_loss ALONE: "
            "the step of log_alpha calls backward on -mmd_loss and leaves minus its gradient in the actor, which "
            "cancels the MMD term. (So after the warm-up the MMD moves log_alpha and nothing else. The warm-up is not "
            "affected.) gradient3/actor shows it.",
        )
    distance = "sum over action dimensions of " + ("(x - y)^2" if kernel == "gaussian" else "|x - y|")
    rates = "here it was set to 2e-2 afterwards." if plain else "here both are 1e-3."
    description = noise_order(noise, warm_up_noise) | {
        "hyperparameters": shared_description()
        | {
            "action_size": ACTION_SIZE,
            "latent_size": 2 * ACTION_SIZE,
            "vae_learning_rate": 2e-3,
            "vae_hidden_sizes": HIDDEN_UNITS,
            "kl_weight": 0.5,
            "latent_clip": 0.5,
            "latent_log_std_min": -4.0,
            "latent_log_std_max": 15.0,
            "log_std_min": -20.0,
            "log_std_max": 2.0,
            "temperature_learning_rate": temperature_rate,
            "initial_temperature": temperature,
            "target_entropy": -float(ACTION_SIZE),
            "alpha_learning_rate": multiplier_rate,
            "initial_alpha": 1.5,
            "log_alpha_min": -5.0,
            "log_alpha_max": 10.0,
            "mmd_threshold": 0.05,
            "mmd_kernel": kernel,
            "mmd_sigma": 2.0,
            "mmd_samples": 4,
            "target_samples": SAMPLES,
            "soft_min_weight": 0.75,
            "warm_up_updates": WARM_UP,
            "repaired": repaired,
        },
        "semantics": {
            "changed": changed,
            "networks": NETWORK_NOTE
            + " The actor has two heads on its second hidden layer: actor/mean and actor/log_std. There is no target "
            "actor. Scalars: log_temperature and log_alpha; no random numbers were added to them.",
            **vae_description(repaired),
            "optimiser": ADAM_NOTE
            + " Five optimisers: VAE, critics, actor, log_temperature, log_alpha; that of the actor goes on from the "
            "warm-up with its moments and its count, those of log_temperature and log_alpha make their first step in "
            "update 3. (The peer gives log_alpha the learning rate of the actor, whatever its own setting says; "
            + rates
            + ")",
            "batch": BATCH_NOTE,
            "policy": (
                "Squashed Gaussian: log_std = clip(log_std_head, -20, 2); u = mean + exp(log_std) * noise; action "
                "= tanh(u); log_prob = sum over action dimensions of [Normal(mean, std).log_prob(u) - 2 * (log 2 "
                "- u - softplus(-2 * u))], taken at the unsquashed u (no atanh, no epsilon)."
            ),
            "order": (
                "Update k = 0..9: (1) VAE step; (2) step of both critics with the old actor and the old temperature; "
                "(3) if k < warm_up_updates, that is in updates 0, 1 and 2: actor step on mmd_loss alone, neither "
                "log_temperature nor log_alpha moves; else: step of log_temperature with the log_prob of the actor's "
                "sample, then step of log_alpha, then actor step; all three with the OLD actor, the NEW decoder and "
                "the NEW critics; (4) Polyak update of both target critics. The critics and their targets move in the "
                "warm-up, too."
            ),
            "target": (
                "Ten samples a_i, log_prob_i of the CURRENT (online) actor at next_observation, with noise/update{k}/"
                "target[:, i]. " + MIX_NOTE + " With i* the action of the largest mix: y = reward + discount * (1 - "
                "terminal) * (mix(a_i*) - exp(log_temperature) * log_prob_i*), log_temperature as before this update. "
                "The entropy term does not take part in the choice of i*. No gradient."
            ),
            "critic_loss": "sum over the two critics of mean over the batch of (Q(s, a) - y)^2; no factor one half.",
            "mmd": (
                "Per row, at observation s: "
                + behaviour
                + " at the latent clip(noise/update{k}/mmd_behaviour_latent[:, j], -0.5, 0.5), j = 0..3, NEW decoder, "
                "no gradient; p_i = mean(s) + exp(log_std(s)) * noise/update{k}/mmd_policy[:, i], i = 0..3, of the "
                "actor, BEFORE tanh, reparameterised. kernel(x, y) = exp(-(" + distance + ") / (2 * mmd_sigma)); sigma "
                "is NOT squared. squared = mean over all 16 pairs (i, i'), equal ones included, of kernel(p_i, p_i') + "
                "mean over all 16 pairs of kernel(b_j, b_j') - 2 * mean over the 16 pairs of kernel(p_i, b_j); mmd = "
                "sqrt(squared + 1e-6). In kernel(p_i, p_i') both arguments carry gradient; |x - y| has derivative 0 at "
                "x = y."
            ),
            "mmd_loss": "mmd_loss = mean over the batch of exp(log_alpha) * (mmd - mmd_threshold), log_alpha old.",
            "alpha_loss": (
                "-mmd_loss with respect to log_alpha, that is gradient -exp(log_alpha) * mean(mmd - mmd_threshold): "
                "log_alpha grows while the MMD is above the threshold. After the step log_alpha is clipped to [-5, 10] "
                "(not reached here)."
            ),
            "temperature_loss": (
                "-mean over the batch of exp(log_temperature) * (log_prob + target_entropy), target_entropy = "
                "-action_size, gradient with respect to log_temperature only; log_prob is that of the actor's "
                "sample at observation with noise/update{k}/actor."
            ),
            "actor_loss": (
                "sac_loss = mean over the batch of exp(log_temperature) * log_prob - min over the two critics of Q(s, "
                "a), a and log_prob reparameterised with noise/update{k}/actor, NEW log_temperature, constant. In "
                "mmd_loss log_alpha is the OLD one, constant. " + actor
            ),
            "warm_up_loss": "actor_loss = mmd_loss with exp(log_alpha) constant.",
            "polyak": "target = (1 - polyak_rate) * target + polyak_rate * online, every update, last.",
            "noise": (
                "All standard normal, stored before clipping. Updates 0, 1, 2 draw: vae (8, 4), target (8, 10, 2), "
                "mmd_behaviour_latent (8, 4, 4), mmd_policy (8, 4, 2). Updates 3..9 draw: vae, target, actor (8, 2), "
                "mmd_behaviour_latent, mmd_policy. Arrays of several samples are stored as (batch, samples, size)."
            ),
            "gradients": (
                "gradient/... is the gradient of the first step of each network: update 0, but update 3 for "
                "log_temperature and log_alpha. gradient/actor is thus that of the warm-up. gradient3/... are the "
                "gradients of update 3, the first one after the warm-up, for all networks."
            ),
            "losses": (
                "losses/imitator_loss (the VAE's), losses/critic_loss, losses/actor_loss (in the warm-up mmd_loss), "
                "losses/mmd_loss and losses/temp_loss (NaN in the warm-up): before their steps. losses/temp and "
                "losses/alpha: exp(log_temperature) and exp(log_alpha) AFTER their steps, NaN in the warm-up."
            ),
        },
    }
    prepare = repair if repaired else leave
    return Twin(config, description, noise, prepare=prepare, warm_up=WARM_UP, warm_up_noise=warm_up_noise)


def discrete_settings() -> dict[str, Any]:
    """Return the d3rlpy settings that the discrete algorithms share."""
    return {
        "learning_rate": 3e-3,
        "batch_size": BATCH_SIZE,
        "gamma": 0.97,
        "n_critics": 1,
        "target_update_interval": 4,
        "encoder_factory": VectorEncoderFactory(HIDDEN_UNITS),
    }


def discrete_hyperparameters() -> dict[str, Any]:
    """Return the hyperparameters of discrete_settings under plain names."""
    return {
        "batch_size": BATCH_SIZE,
        "observation_size": OBSERVATION_SIZE,
        "actions": DISCRETE_ACTIONS,
        "hidden_sizes": HIDDEN_UNITS,
        "discount": 0.97,
        "critics": 1,
        "learning_rate": 3e-3,
        "target_interval": 4,
        "huber_threshold": 1.0,
        "adam": ADAM,
        "updates": UPDATES,
    }


def discrete_bcq(shared: bool, raw: bool, threshold: float = THRESHOLD) -> Twin:
    """Describe discrete BCQ: hidden layers shared or not, penalty on normalised or on raw logits."""
    config = d3rlpy.algos.DiscreteBCQConfig(
        action_flexibility=threshold, beta=0.5, share_encoder=shared, **discrete_settings()
    )

    def prepare(implementation: Any) -> None:
        if raw:
            imitator = implementation._modules.imitator
            imitator.forward = lambda x: types.SimpleNamespace(logits=imitator._fc(imitator._encoder(x)))

    if shared:
        networks = (
            " The imitator has only a head of its own, imitator/layer2, on the two hidden layers of the ONLINE critic "
            "(critic0/layer0 and critic0/layer1, with their ReLU), which learn from both losses. The target critic has "
            "hidden layers of its own."
        )
    else:
        networks = " The imitator is a network of its own: imitator/layer0, layer1, layer2."
    if raw:
        penalty = "penalty = mean over batch AND actions of (imitator's RAW outputs)^2"
        changed = (
            "The penalty was taken from the raw logits, as in the paper's code; as installed the peer takes it from "
            "the normalised ones, which are log probabilities (fixture discrete_bcq). All else is the peer's."
        )
    else:
        penalty = (
            "penalty = mean over batch AND actions of (log_probs)^2, that is of the NORMALISED logits (the peer's "
            "categorical distribution normalises them before the penalty sees them), with gradient"
        )
        changed = PLAIN_NOTE
    description = noise_order(()) | {
        "hyperparameters": discrete_hyperparameters()
        | {"threshold": threshold, "logits_weight": 0.5, "shared_layers": shared, "raw_logits_penalty": raw},
        "semantics": {
            "changed": changed,
            "networks": NETWORK_NOTE
            + " Here there is one critic, which gives one number per action; the imitator gives one logit per action."
            + networks,
            "optimiser": ADAM_NOTE + " One Adam at one learning rate holds critic and imitator.",
            "batch": BATCH_NOTE + " actions are stored as float32 whole numbers 0..2, shape (8,).",
            "order": (
                "Update k = 0..9: (1) one step of critic and imitator on the one loss; (2) if k % target_interval == "
                "0, that is after updates 0, 4 and 8, copy the critic to the target critic (hard copy, no averaging)."
            ),
            "policy": (
                "log_probs = log_softmax of the imitator's outputs; an action is allowed where log_probs - max over "
                "actions of log_probs > log(threshold), that is where its probability is more than threshold times "
                "the largest; the choice is the argmax of the online critic over the allowed actions."
            ),
            "target": (
                "a' = the choice of the policy above at next_observation (online critic and online imitator, both "
                "old); y = reward + discount * (1 - terminal) * target_critic(next_observation)[a']. No gradient."
            ),
            "loss": (
                "loss = td_loss + imitator_loss; td_loss = mean over the batch of Huber(y - Q[a]) with Huber(d) = d^2 "
                "/ 2 if |d| < 1, else |d| - 1/2; imitator_loss = -mean over the batch of log_probs[a] at observation + "
                "logits_weight * penalty; " + penalty + ". No weights besides logits_weight."
            ),
            "losses": "losses/loss, losses/td_loss, losses/imitator_loss (with its penalty): before the step.",
        },
    }
    return Twin(config, description, discrete=True, prepare=prepare)


def discrete_cql_quantiles() -> Twin:
    """Describe discrete CQL on quantile regression."""
    quantiles = 8
    config = d3rlpy.algos.DiscreteCQLConfig(
        alpha=2.0, q_func_factory=QRQFunctionFactory(n_quantiles=quantiles), **discrete_settings()
    )
    description = noise_order(()) | {
        "hyperparameters": discrete_hyperparameters() | {"conservative_weight": 2.0, "quantiles": quantiles},
        "semantics": {
            "changed": PLAIN_NOTE,
            "networks": NETWORK_NOTE
            + " Here there is one critic, which gives actions * quantiles = 24 numbers, to be reshaped to (actions, "
            "quantiles) = (3, 8): number action * 8 + quantile. Q[a] = mean over its 8 quantiles.",
            "optimiser": ADAM_NOTE,
            "batch": BATCH_NOTE + " actions are stored as float32 whole numbers 0..2, shape (8,).",
            "order": (
                "Update k = 0..9: (1) critic step; (2) if k % target_interval == 0, that is after updates 0, 4 and "
                "8, copy the critic to the target critic (hard copy, no averaging)."
            ),
            "target": (
                "a' = argmax over actions of Q of the ONLINE critic at next_observation; y_j = reward + discount * (1 "
                "- terminal) * quantile j of a' of the TARGET critic at next_observation, j = 0..7. No gradient."
            ),
            "critic_loss": (
                "loss = td_loss + conservative_weight * conservative_loss. With theta_i the quantiles of the data "
                "action at observation and tau_i = (i + 1/2) / 8, i = 0..7: td_loss = mean over the batch of mean over "
                "j (targets) of SUM over i (own quantiles) of |tau_i - 1(y_j - theta_i < 0)| * Huber(y_j - theta_i), "
                "Huber(d) = d^2 / 2 if |d| < 1, else |d| - 1/2. conservative_loss = mean over the batch of (logsumexp "
                "over all actions of Q - Q[a]), of the means over quantiles; the data action is in the logsumexp."
            ),
            "losses": "losses/loss, losses/td_loss, losses/conservative_loss (not weighted): before the step.",
        },
    }
    return Twin(config, description, discrete=True)


CASES: dict[str, Callable[[], Twin]] = {
    "td3_bc": td3_bc,
    "cql": lambda: cql(soft_backup=False),
    "cql_soft_backup": lambda: cql(soft_backup=True),
    "discrete_cql": discrete_cql,
    "discrete_cql_quantiles": discrete_cql_quantiles,
    "awac": lambda: awac(soft_target=True),
    "awac_plain": lambda: awac(soft_target=False),
    "crr_binary": lambda: crr("binary", "mean", "soft"),
    "crr_exponential": lambda: crr("exp", "mean", "hard"),
    "crr_maximum": lambda: crr("exp", "max", "soft"),
    "bcq": lambda: bcq(squashed=False),
    "bcq_tanh": lambda: bcq(squashed=True),
    "bear": lambda: bear(repaired=False),
    "bear_repaired": lambda: bear(repaired=True),
    "bear_plain": lambda: bear(repaired=True, plain=True),
    "discrete_bcq": lambda: discrete_bcq(shared=True, raw=False),
    "discrete_bcq_apart": lambda: discrete_bcq(shared=False, raw=False),
    "discrete_bcq_raw": lambda: discrete_bcq(shared=True, raw=True),
    "discrete_bcq_apart_raw": lambda: discrete_bcq(shared=False, raw=True, threshold=0.67),
}
