"""Words of the generic reader: what counters are called, and what stands before numbers that are no metrics."""

from __future__ import annotations

import re


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(" ".join(phrase.split()) for phrase in text.split(",") if phrase.strip())


# Counters by how well they say what the optimizer did; the best one of a line is its step.
_COUNTERS = (
    """
    current step, global step, global steps, global_step, num_timesteps, num_updates, optimizer step, step_idx, t_env, timesteps_total,
    total_timesteps, totalenvinteracts
    """,
    """
    it, iter, iteration, iterations, iters, itr, n_iter, step, step_num, steps, timestep, timesteps, train iter,
    train step, training iteration, training step, training_iteration, update, updates
    """,
    "batch, batch idx, batch_idx, batches, mini-batch, minibatch",
    "",  # a counter without a name: "45/100" of a bar or in brackets
    "episode, episodes, game, generation, rollout",
)
STEPS: dict[str, int] = {phrase: order for order, text in enumerate(_COUNTERS) for phrase in _phrases(text)}
BAR_RANK = _COUNTERS.index("")
EPOCHS = _phrases(
    """
    current epoch, ep, epoch, epoch #, epoch no, epoch_num, eval epoch, test epoch, train epoch, training epoch, val epoch
    """
)
RANKS = _phrases("global rank, global_rank, local rank, local_rank, proc, process rank, rank")

# Words that a number may follow in a sentence; they never name one.
STOP = words(
    """
    a about after an and approx are as at attempt be best between by chapter code column cpu every exit file files first for found
    from got gpu gpus has have id in is it its job last line loaded next no node not of on only or over page per pid port process
    retry saved seed shape signal since size than that the then this to took top total try under until used using version was were
    with within worker workers
    """
)
LINKS = words("at by is now of reached to was")  # between a name and its number: "accuracy of 0.5"
LEADLESS = words("batch epoch info iter iteration step")  # words that do not tell one kind of line from another

# Words that stand beside "validation" or "test" where these announce a section.
COMPANY = words(
    """
    running start starting begin beginning started phase set results result on the step loop stats metrics scores performance summary
    data of model for performing doing now during report mode and split stage
    """
)
NOT_METRICS = _phrases(
    """
    bad epochs, device, dtype, epochs, eta, id, job_id, line, loss scaler, loss weight, max_epochs, max_steps, num_epochs, num_steps, pid,
    port, seed, shape, size, total steps, v_num, version, world_size
    """
)
NUMBERED = re.compile(r"\b(?:code|id|pid|port|version|seed)$", re.IGNORECASE)  # names of numbers that only tell things apart
