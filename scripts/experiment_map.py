"""From the map of scripts/experiment.py to the forecasts of audits: the table that the program has, and its error."""

import math

import experiment_statistics as statistics
from experiment_plan import BASELINE, STAGES, STEPS, by_seed, cell_name, cell_of, chosen_rates, differences
from experiment_statistics import mean

# The arms that a forecast is made for.
ARMS = ["vgpo", "predicting", "oracle-intra"]
# What of an audit is compared between cells.
POSITION = ["spearman", "dependent_late", "independent_gradient"]
# Fewer pairs of a cell are not told.
PAIRS = 2
MEAN, NEAREST, NOTHING = "Mean", "Nearest", "Nothing"


def measured(rows, audits):
    """The cells with an audit and enough pairs of every arm: {cell: (position, {arm: differences to DAPO})}."""
    rates, cells = chosen_rates(rows), {}
    for cell in sorted({row["cell"] for row in rows} & set(audits), key=cell_of):
        found = {arm: by_seed(rows, cell, arm, rates) for arm in [BASELINE, *ARMS]}
        gains = {arm: differences(found, arm, BASELINE, lambda row: row["accuracy"]) for arm in ARMS}
        if all(len(values) >= PAIRS for values in gains.values()):
            cells[cell] = ([audits[cell][name] for name in POSITION], gains)
    return cells


def forecast(cells, position, arm, rule):
    """The gain of an arm in a cell with this audit, by the cells that are known."""
    if rule == NOTHING:
        return 0.0
    if rule == NEAREST:
        cells = {"": min(cells.values(), key=lambda cell: math.dist(cell[0], position))}
    return mean([mean(gains[arm]) for _, gains in cells.values()])


def misses(cells, arm, rule):
    """How far forecasts are off for each cell, made from the others."""
    off = []
    for name, (position, gains) in cells.items():
        others = {other: cell for other, cell in cells.items() if other != name}
        off.append(forecast(others, position, arm, rule) - mean(gains[arm]))
    return off


def error(cells, arm, rule):
    """Root of the mean square of the misses."""
    return math.sqrt(mean([miss * miss for miss in misses(cells, arm, rule)]))


def rule_of(cells):
    """The rule whose forecasts were closer over all arms; the mean unless the audit tells more."""
    total = {rule: mean([error(cells, arm, rule) ** 2 for arm in ARMS]) for rule in (MEAN, NEAREST)}
    return NEAREST if total[NEAREST] < total[MEAN] else MEAN


def rust(rows, audits):
    """The table of forecasts as src/algorithm/forecast/map.rs, from stage 1 alone, so that stage 2 can tell how good it
    is; empty as long as fewer than three cells are measured."""
    cells, _ = split(measured(rows, audits))
    full = len(cells) >= 3
    rule = rule_of(cells) if full else MEAN
    names = "Arm, Cell, Map, Position, Rule" if full else "Map, Rule"
    lines = ["//! Written by `scripts/experiment.py forecast`, not by hand.", "", f"use super::{{{names}}};", "",
             "/// What the experiment on `survey` has measured.", "#[rustfmt::skip]",
             '#[allow(clippy::approx_constant, reason = "measured numbers may look like any constant")]',
             "pub const MAP: Map<'static> = Map {", f"    rule: Rule::{rule},", f"    steps: {STEPS if full else 0},",
             "    arms: &["]
    for arm in ARMS if full else []:
        values = [gains[arm] for _, gains in cells.values()]
        gain = ", ".join(f"{value:.2f}" for value in statistics.bootstrap_of_groups(values))
        lines.append(f'        Arm {{ name: "{arm}", pairs: {sum(map(len, values))}, gain: [{gain}], '
                     f"error: {error(cells, arm, rule):.2f} }},")
    lines += ["    ],", "    cells: &["]
    for name, (position, gains) in cells.items() if full else []:
        place = ", ".join(f"{key}: {value:.4f}" for key, value in zip(POSITION, position))
        lines += ["        Cell {", f'            name: "{name}",', f"            audit: Position {{ {place} }},",
                  f"            gains: &[{', '.join(f'{mean(gains[arm]):.2f}' for arm in ARMS)}],", "        },"]
    return "\n".join([*lines, "    ],", "};", ""])


def split(cells):
    """The cells of stage 1, which forecasts are made from, and the others, which they are tried on."""
    first = {cell_name(cell) for cell in STAGES[1][0]}
    made = {name: cell for name, cell in cells.items() if name in first}
    return made, {name: cell for name, cell in cells.items() if name not in first}


def tables(rows, audits):
    """What the forecasts rest on, and how far they were off."""
    cells = measured(rows, audits)
    if len(cells) < 3:
        print(f"\nNo forecasts: fewer than three cells have an audit and {PAIRS} pairs of every arm.")
        return
    print("\n### Forecasts, for a cell from the others: how far they were off\n")
    print("Root of the mean square in points of accuracy; what was measured has the noise of its pairs.\n")
    print("| arm | nothing at all | mean of the other cells | the cell with the closest audit |")
    print("|---|---|---|---|")
    for arm in ARMS:
        print(f"| {arm} | " + " | ".join(f"{error(cells, arm, rule):.2f}" for rule in (NOTHING, MEAN, NEAREST)) + " |")
    print(f"\nThe program forecasts by {'the closest audit' if rule_of(cells) == NEAREST else 'the mean'}.")
    made, tried = split(cells)
    if tried and len(made) >= 3:
        print("\n### Forecasts from stage 1, for the cells of stage 2\n")
        print("| cell | arm | forecast | measured |")
        print("|---|---|---|---|")
        for name, (position, gains) in tried.items():
            for arm in ARMS:
                print(f"| {name} | {arm} | {forecast(made, position, arm, rule_of(made)):+.2f} "
                      f"| {mean(gains[arm]):+.2f} |")
