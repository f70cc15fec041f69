"""The cells, arms and stages of scripts/experiment.py, whose docstring says what they are for."""

import itertools

# The dials: low and high values of looks, bits of a filler's word, and forgetting at the last look.
DIALS = [(6, 9), (0.5, 1.8), (0.6, 0.9)]
CENTRE = (9, 1.5, 0.75)
CORNERS = list(itertools.product(*DIALS))
MAP = [*CORNERS, CENTRE]


def level(cell):
    """The product of the dials' signs: +1 in one half of the corners, -1 in the other."""
    sign = 1
    for (low, _), value in zip(DIALS, cell):
        sign *= -1 if value == low else 1
    return sign


SEEDS = list(range(10))
TUNING_SEEDS = [100, 101, 102]
RATES = [5e-5, 1e-4, 2e-4]
DEFAULT_RATE = 1e-4
STEPS, PROMPTS, EVAL_ROWS = 12, 8, 512
BASELINE, SHUFFLED, ORACLE = "dapo", "shuffled", "oracle"

# name -> (what it is, `method` of the job, what it changes in `rollout`)
ARMS = {
    "dapo": ("DAPO: no visual weights", {"type": "dapo"}, {}),
    "shuffled": ("VGPO, weights shuffled within the response", {"type": "vgpo", "control": "shuffled"}, {}),
    "oracle": ("VGPO, weights by true dependency (oracle)", {"type": "vgpo", "control": "oracle"}, {}),
    "oracle-intra": ("oracle, intra-trajectory weights only",
                     {"type": "vgpo", "control": "oracle", "inter": False}, {}),
    "vgpo": ("VGPO", {"type": "vgpo"}, {}),
    "predicting": ("VGPO, focus of the predicting state", {"type": "vgpo", "focus_position": "predicting"}, {}),
    "intra": ("VGPO, intra-trajectory weights only", {"type": "vgpo", "inter": False}, {}),
    "inter": ("VGPO, inter-trajectory weights only", {"type": "vgpo", "intra": False}, {}),
    "step": ("VGPO, step schedule", {"type": "vgpo", "schedule": "step"}, {}),
    "exponential": ("VGPO, exponential schedule", {"type": "vgpo", "schedule": "exponential"}, {}),
    "whole": ("VGPO, compensation of the whole response (gamma 1)", {"type": "vgpo", "gamma": 1.0}, {}),
    "papo": ("PAPO", {"type": "papo"}, {}),
    "vppo": ("VPPO", {"type": "vppo"}, {}),
    "sapo": ("SAPO", {"type": "sapo"}, {}),
    "pepo": ("PEPO", {"type": "pepo"}, {}),
    "pgpo": ("PGPO", {"type": "pgpo"}, {}),
    "dr_grpo": ("DAPO, advantages of Dr. GRPO", {"type": "dapo", "estimator": "dr_grpo"}, {}),
    "gdpo": ("DAPO, advantages of GDPO", {"type": "dapo", "estimator": "gdpo"}, {}),
    "mask_truncated": ("DAPO, no loss on truncated responses", {"type": "dapo"}, {"mask_truncated": True}),
}
# The arms of the map, in the order in which they run; all arms run in its centre.
MAP_ARMS = ["dapo", "oracle-intra", "vgpo", "predicting", "shuffled"]

# What a stage runs: cells, and whether learning rates are tuned and all arms run in the centre.
STAGES = {
    1: ([CENTRE, *(cell for cell in reversed(CORNERS) if level(cell) > 0)], False),
    2: ([cell for cell in reversed(CORNERS) if level(cell) < 0], False),
    3: (MAP, True),
}
# How the starter of the centre is taught to be that of a corner.
FURTHER_STEPS, FURTHER_RATE = 150, 3e-4


def cell_name(cell):
    return "-".join(f"{value:g}" for value in cell)


def cell_of(name):
    looks, filler, forgetting = name.split("-")
    return int(looks), float(filler), float(forgetting)


def task(cell):
    """The task that the starter of a cell is taught."""
    return "survey:looks={},filler={:g},forgetting={:g}".format(*cell)


def lesson(starter, cell):
    """The job that teaches a starter the demonstrations of another cell: the recipe's, for fewer steps."""
    return {
        "model": str(starter), "dataset": task(cell), "method": {"type": "sft"}, "seed": 7, "steps": FURTHER_STEPS,
        "eval_before": False, "eval_every": FURTHER_STEPS, "eval_rows": EVAL_ROWS, "checkpoint_every": 0,
        "log_samples_every": 0,
        "batch": {"prompts_per_step": 32, "minibatch_prompts": 32, "microbatch_tokens": 2048},
        "optimizer": {"learning_rate": FURTHER_RATE, "betas": [0.9, 0.98], "weight_decay": 0.01, "warmup_steps": 10,
                      "schedule": "cosine", "max_grad_norm": 1.0},
    }


def job(starter, cell, arm, rate, seed):
    """The job of one run. The starter's own recommendations give what is not named here."""
    _, method, rollout = ARMS[arm]
    return {
        "model": str(starter), "dataset": f"survey:looks={cell[0]}", "seed": seed, "steps": STEPS,
        "method": method,
        "rollout": {"group_size": 8, "filter": {"max_tries": 1}, **rollout},
        "batch": {"prompts_per_step": PROMPTS, "minibatch_prompts": PROMPTS // 4},
        "optimizer": {"learning_rate": rate},
        "eval_before": False, "eval_every": STEPS, "eval_rows": EVAL_ROWS,
        "checkpoint_every": 0, "keep_checkpoints": 1, "log_samples_every": 0,
    }


def tuned(rows):
    """Per arm that was tuned, the primary outcome of every rate. Arms are missing until all their runs are there."""
    outcomes = {}
    for arm in ARMS:
        mean = {}
        for rate in RATES:
            found = [row["accuracy"] for row in rows if row["cell"] == cell_name(CENTRE) and row["arm"] == arm
                     and row["rate"] == rate and row["seed"] in TUNING_SEEDS]
            if len(found) == len(TUNING_SEEDS):
                mean[rate] = sum(found) / len(found)
        if len(mean) == len(RATES):
            outcomes[arm] = mean
    return outcomes


def chosen_rates(rows):
    """The learning rate of each arm that was tuned: see the plan."""
    return {arm: max(RATES, key=lambda rate: (mean[rate], -rate)) for arm, mean in tuned(rows).items()}


def by_seed(rows, cell, arm, rates):
    """Results of an arm in a cell at its learning rate, tuning runs left out."""
    rate = rates.get(arm, DEFAULT_RATE)
    return {row["seed"]: row for row in rows
            if (row["cell"], row["arm"], row["rate"]) == (cell, arm, rate) and row["seed"] not in TUNING_SEEDS}


def differences(found, arm, base, value):
    """Differences within a seed, where both have run."""
    if arm == base or arm not in found or base not in found:
        return []
    pairs = [(value(found[arm][seed]), value(found[base][seed])) for seed in found[arm] if seed in found[base]]
    return [one - other for one, other in pairs if one is not None and other is not None]
