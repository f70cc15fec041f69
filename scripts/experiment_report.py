"""The tables and plots of scripts/experiment.py."""

import experiment_plots
import experiment_statistics as statistics
from experiment_plan import (ARMS, BASELINE, CENTRE, DEFAULT_RATE, MAP, MAP_ARMS, RATES, SEEDS, SHUFFLED, TUNING_SEEDS,
                             by_seed, cell_name, cell_of, chosen_rates, differences, tuned)

# Fewer pairs than this give intervals that are too narrow.
FEW_PAIRS = 6


def accuracy(row):
    return row["accuracy"]


def area(row):
    return row["sampled"]


def shown(values, digits=2):
    if not values:
        return "-"
    mean, low, high = statistics.bootstrap(values)
    if len(values) == 1:
        return f"{mean:+.{digits}f} (one pair)"
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def corrected(found):
    """Holm's p-values of arms, given the differences of each to the baseline."""
    return statistics.holm({arm: statistics.sign_flip(values) for arm, values in found.items() if values})


def cell_tables(rows, cell, rates):
    found = {arm: by_seed(rows, cell, arm, rates) for arm in ARMS}
    found = {arm: runs for arm, runs in found.items() if runs}
    primary = {arm: differences(found, arm, BASELINE, accuracy) for arm in found}
    p_values = corrected(primary)
    looks, filler, forgetting = cell_of(cell)
    start = next(iter(found[next(iter(found))].values()))["start"]
    print(f"### {looks} looks, {filler:g} bits a word, forgetting {forgetting:g}\n")
    print(f"Before training: {start:.1f} %. Brackets are 95 % bootstrap intervals over seeds.\n")
    print("| arm | rate | seeds | accuracy | minus DAPO | p, Holm | area | minus DAPO | minus shuffled |")
    print("|---|---|---|---|---|---|---|---|---|")
    for arm, runs in found.items():
        mean = sum(map(accuracy, runs.values())) / len(runs)
        areas = [area(row) for row in runs.values()]
        p_value = f"{p_values[arm]:.3f}" if arm in p_values else "-"
        rate = f"{rates[arm]:g}" if arm in rates else f"{DEFAULT_RATE:g} (not tuned)"
        print(f"| {ARMS[arm][0]} | {rate} | {len(runs)} | {mean:.2f} | {shown(primary[arm])} | {p_value} "
              f"| {sum(areas) / len(areas):.2f} | {shown(differences(found, arm, BASELINE, area))} "
              f"| {shown(differences(found, arm, SHUFFLED, accuracy))} |")
    print("\n| arm | late/early focus | minus DAPO | late/early dependency | minus DAPO | tokens | minutes |")
    print("|---|---|---|---|---|---|---|")
    for arm, runs in found.items():
        values = {name: [row[name] for row in runs.values() if row[name] is not None]
                  for name in ["focus", "dependency", "length", "seconds"]}
        mean = {name: sum(some) / len(some) for name, some in values.items() if some}
        dependency = f"{mean['dependency']:.3f}" if "dependency" in mean else "-"
        print(f"| {ARMS[arm][0]} | {mean['focus']:.4f} "
              f"| {shown(differences(found, arm, BASELINE, lambda row: row['focus']), 4)} | {dependency} "
              f"| {shown(differences(found, arm, BASELINE, lambda row: row['dependency']), 3)} "
              f"| {mean['length']:.0f} | {mean['seconds'] / 60:.1f} |")
    print()


def compared_cells(rows):
    """The cells with runs that arms are compared by."""
    return sorted({row["cell"] for row in rows if row["seed"] not in TUNING_SEEDS}, key=cell_of)


def gains(rows, rates, value=accuracy, base=BASELINE):
    """The map: in each cell the differences of the map's arms to one of them."""
    cells = {}
    for cell in compared_cells(rows):
        found = {arm: by_seed(rows, cell, arm, rates) for arm in MAP_ARMS}
        cells[cell] = {arm: differences(found, arm, base, value) for arm in MAP_ARMS if arm != base}
    return {cell: arms for cell, arms in cells.items() if any(arms.values())}


def pooled_table(rows, rates):
    """The test of stage 1: the pairs of all cells together."""
    measured = {name: gains(rows, rates, value)
                for name, value in [("accuracy", accuracy), ("area", area)]}
    beyond = gains(rows, rates, accuracy, SHUFFLED)
    together = {name: {arm: [one for cell in found.values() for one in cell[arm]]
                       for arm in MAP_ARMS if arm != BASELINE} for name, found in measured.items()}
    p_values = corrected(together["accuracy"])
    print("### All cells together: minus DAPO\n")
    print("| arm | pairs | accuracy | p, Holm | area | accuracy minus shuffled |")
    print("|---|---|---|---|---|---|")
    for arm, p_value in p_values.items():
        control = [] if arm == SHUFFLED else [one for cell in beyond.values() for one in cell[arm]]
        print(f"| {ARMS[arm][0]} | {len(together['accuracy'][arm])} | {shown(together['accuracy'][arm])} "
              f"| {p_value:.3f} | {shown(together['area'][arm])} | {shown(control)} |")
    print()


def map_table(found):
    print("### The map: accuracy minus DAPO\n")
    arms = [arm for arm in MAP_ARMS if arm != BASELINE]
    print("| looks | bits a word | forgetting | pairs | " + " | ".join(arms) + " |")
    print("|---" * (4 + len(arms)) + "|")
    for cell, values in found.items():
        pairs = max(len(some) for some in values.values())
        print("| " + " | ".join(f"{dial:g}" for dial in cell_of(cell)) + f" | {pairs} | "
              + " | ".join(shown(values[arm]) for arm in arms) + " |")
    least = min((len(some) for values in found.values() for some in values.values() if some), default=0)
    full = sum(len(some) >= len(SEEDS) for values in found.values() for some in values.values())
    print(f"\nComparisons of the plan with all {len(SEEDS)} pairs: {full} of {len(MAP) * len(arms)}."
          + (f" Some have fewer than {FEW_PAIRS}: their intervals are too narrow." if least < FEW_PAIRS else ""))


def audit_table(audits):
    names = {"accuracy": "accuracy, sampled", "dependent_early": "dependent, first third",
             "dependent_late": "last third", "dependency_early": "nats, first third", "dependency_late": "last third",
             "auc": "AUC", "auc_predicting": "AUC, predicting", "spearman": "rank correlation",
             "spearman_predicting": "predicting", "independent_gradient": "gradient elsewhere"}
    print("\n### What audits say of the starters\n")
    print("| cell | " + " | ".join(names.values()) + " |")
    print("|---" * (1 + len(names)) + "|")
    for cell, audit in audits.items():
        print(f"| {cell} | " + " | ".join(f"{audit[name]:.3f}" if name in audit else "-" for name in names) + " |")


def cells(rows):
    """The tables of each cell but the centre, which the summary has."""
    rates = chosen_rates(rows)
    if rates:
        print("Learning rates, chosen on seeds " + ", ".join(map(str, TUNING_SEEDS)) + ": "
              + ", ".join(f"{arm} {rate:g}" for arm, rate in rates.items()) + ".\n")
    for cell in [cell for cell in compared_cells(rows) if cell != cell_name(CENTRE)]:
        cell_tables(rows, cell, rates)


def rate_table(rows):
    """What the learning rates were chosen by."""
    outcomes = tuned(rows)
    if not outcomes:
        return
    print(f"### Learning rates: accuracy in {cell_name(CENTRE)}, mean of seeds {', '.join(map(str, TUNING_SEEDS))}\n")
    print(f"| arm | {' | '.join(f'{rate:g}' for rate in RATES)} |\n|---|{'---|' * len(RATES)}")
    for arm, mean in outcomes.items():
        print(f"| {ARMS[arm][0]} | {' | '.join(f'{mean[rate]:.1f}' for rate in RATES)} |")
    print()


def summary(rows, audits):
    """Learning rates, all arms in the centre, all cells together, the map, and the audits."""
    rates, centre = chosen_rates(rows), cell_name(CENTRE)
    rate_table(rows)
    if centre in compared_cells(rows):
        cell_tables(rows, centre, rates)
    pooled_table(rows, rates)
    map_table(gains(rows, rates))
    if audits:
        audit_table(audits)


def plot(rows, folder):
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {cell: {arm: statistics.bootstrap(values) for arm, values in some.items() if values}
             for cell, some in gains(rows, chosen_rates(rows)).items()}
    (folder / "map.svg").write_text(experiment_plots.gains(drawn), encoding="utf-8")
