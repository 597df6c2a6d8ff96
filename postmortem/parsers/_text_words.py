"""Words of the generic reader: what counters are called, and what stands before numbers that are no metrics."""

from __future__ import annotations

import re

from postmortem.model import Split


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(" ".join(phrase.split()) for phrase in text.split(",") if phrase.strip())


# Counters by how well they say what the optimizer did; the best one of a line is its step. `_` and `-` are blanks.
_COUNTERS = (
    """
    actor steps, agent steps, current step, env step, env steps, environment steps, global iter, global iteration, global step, global steps, grad step,
    gradient step, gradient steps, gradient updates, env frames, frame number, learner steps, num env steps, num frames, num timesteps,
    num updates, nupdates, steps executed, batches seen,
    opt step, optim step, optimizer step, optimizer steps, step idx, t env, timesteps total, total env steps, total frames,
    total num timesteps, total timesteps, totalenvinteracts, totalenvsteps, trained steps, trainer step
    """,
    """
    cur iter, cur step, current iter, current iteration, it, iter, iter num, iteration, iteration number, iterations, iters, itr, learning iteration, n
    iter, step, step num, steps, timestep, timesteps, train iter, train iteration, train step, training iter, training iteration,
    training step, update, updates, communication round, global round, global training round, round, server round, step number, tick, training round,
    iteración, iteracion, iteração, iteracao, paso, passo, schritt, étape, шаг, 步数
    """,
    "batch, batch idx, batches, mini batch, minibatch",
    "",  # a counter without a name: "45/100" of a bar or in brackets
    "episode, episode number, episodes, game, game number, generation, rollout",
)
STEPS: dict[str, int] = {phrase: order for order, text in enumerate(_COUNTERS) for phrase in _phrases(text)}
BAR_RANK = _COUNTERS.index("")
EPOCHS = _phrases(
    "cur epoch, current epoch, ep, epoch, epochs done, epoch #, epoch no, epoch num, epoch number, eval epoch, training epoch,"
    "época, epoca, epoche, époque, эпоха, 轮次"
)
# Counters, or how many there will be: which of the two, only their growing tells.
DOUBTFUL_STEPS = _phrases("total iterations, total iters, total step, total steps")
# Counters that may stand behind other words ("Validation at step 300", "worker-3 step=300"), and groups before a slash.
COUNTER_TAILS = _phrases("batch, epoch, global step, iter, iteration, itr, round, step, timestep, train step, training step, update")
COUNTER_GROUPS = words("counters global info progress train trainer training")
# Words before a counter that make it count something else: an end, a rate, a schedule, another place than here.
OTHER_COUNTS = words(
    """
    accum accumulate accumulated accumulation avg average best build checkpoint checkpoints ckpt decay each every final first fps from inner
    last limit load loaded loading log logging lr max maximum micro min minimum next no num number one overall per prev
    previous remaining restart restarted restarting restore restored resume resumed resuming save schedule scheduler since skip skipped
    skipping stop stopping sub target time times total until warm warm-up warming warmup
    """
)
RANKS = _phrases("global rank, global_rank, local rank, local_rank, proc, process rank, rank")

# Words that a number may follow in a sentence; they never name one.
STOP = words(
    """
    a about after an and approx are as at attempt be best between by chapter code column cpu every exit file files first for found
    from got gpu gpus has have id in input is it its job last line loaded model next no node not of on only or over page per pid port
    process
    retry saved seed shape signal since size than that the then this to top total try under until used using version was were
    with within worker workers
    """
)
LINKS = words("at by is now of reached to was")  # between a name and its number: "accuracy of 0.5"
DOUBTFUL = "|n"  # the end of a family whose counter is a step only if it grows from line to line ("[300] loss 0.5")
RULE = r"[\u2500\u2501\u2578\u257a]{5}"  # a bar that is drawn as a line, by Ultralytics and rich
JOINING = words("after at during for in of on")  # between a name and the counter in it: "loss after epoch 3"
LEADLESS = words("batch epoch info iter iteration step")  # words that do not tell one kind of line from another

FORMS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validating", "validate", "dev", "eval", "evaluation", "evaluating", "evaluate"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

# Words that stand beside "validation" or "test" where these announce a section.
COMPANY = words(
    """
    running start starting begin beginning started phase set results result on the step loop stats metrics scores performance summary
    data dataset of model for performing doing now during report mode and split stage
    """
)
NOT_METRICS = _phrases(
    """
    bad epochs, cuda, device, dtype, epochs, eta, fold, gpu, host, id, job, job_id, line, loss scaler, loss weight, max_epochs, max_steps,
    node, num_epochs, num_steps, pid, port, seed, shape, size, total steps, trial, v_num, version, world_size
    """
)
NUMBERED = re.compile(r"\b(?:code|id|pid|port|version|seed)$", re.IGNORECASE)  # names of numbers that only tell things apart
