"""What scripts/experiment.py starts: starters, training runs, audits. What is finished stays and is not done again."""

import json
import os
import shutil
import subprocess
import sys
import threading

import experiment_plan as plan
import experiment_results as results

# An audit after training, of which only the dependency late and early is kept.
AUDIT_ROWS, AUDIT_SAMPLES = 64, 1


class Runner:
    """Starts the program, and keeps the tables of results up to date."""

    def __init__(self, args):
        self.program, self.out = args.vgpo.resolve(), args.out.resolve()
        self.table, self.threads, self.nice = args.results, args.threads, args.nice
        self.lock, self.making = threading.Lock(), threading.Lock()

    def execute(self, command, output, errors=subprocess.STDOUT):
        environment = dict(os.environ)
        if self.threads:
            environment["CANDLE_NUM_THREADS"] = str(self.threads)
        with open(output, "w", encoding="utf-8") as stdout:
            return subprocess.run(
                ["nice", "-n", str(self.nice), str(self.program), *command], stdout=stdout, stderr=errors,
                env=environment, check=False).returncode

    def rows(self):
        """Every run that is known: those of the table, and those of this folder."""
        return results.merged(results.read_results(self.table), results.read_all(self.out)[0])

    def save(self):
        with self.lock:
            rows, audits = results.read_all(self.out)
            results.write_results(results.merged(results.read_results(self.table), rows), self.table)
            path = results.audits_path(self.table)
            results.write_audits({**audits, **results.read_audits(path)}, path)

    def folder_of(self, cell):
        """Where the starter of a cell is."""
        return self.out / "starters" / plan.cell_name(cell)

    def starter(self, cell):
        """Makes and audits the starter of a cell, that of the centre first."""
        if cell != plan.CENTRE:
            self.starter(plan.CENTRE)
        folder = self.folder_of(cell)
        with self.making:
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                print(f"starter {folder.name}", flush=True)
                (self.build if cell == plan.CENTRE else self.teach)(cell, folder)
        self.audit(folder, cell, folder.with_name(f"{folder.name}.audit.json"), [])

    def build(self, cell, folder):
        log = folder.with_name(f"{folder.name}.log")
        code = self.execute(["starter", "build", "--task", plan.task(cell), "--out", str(folder)], log)
        if code != 0:
            sys.exit(f"the starter of {folder.name} FAILED ({code}), see {log}")

    def teach(self, cell, folder):
        """The centre's starter, taught further; its card says so, and recommends the same settings."""
        work = folder.with_name(f"{folder.name}.work")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        spec = work / "job.json"
        spec.write_text(json.dumps(plan.lesson(self.folder_of(plan.CENTRE), cell), indent=1) + "\n", encoding="utf-8")
        code = self.execute(
            ["train", "--spec", str(spec), "--out", str(work), "--data", str(self.out / "data")], work / "log")
        if code != 0:
            sys.exit(f"the starter of {folder.name} FAILED ({code}), see {work}/log")
        taught = work / "checkpoints" / f"step-{plan.FURTHER_STEPS:08}"
        shutil.rmtree(taught / "trainer", ignore_errors=True)
        accuracy = results.evaluations_of(results.read_metrics(work))[-1]["values"]["eval/accuracy"]
        own, centre = taught / results.CARD, self.folder_of(plan.CENTRE) / results.CARD
        card = json.loads(own.read_text(encoding="utf-8")) if own.exists() else {}
        card["recommended"] = json.loads(centre.read_text(encoding="utf-8")).get("recommended")
        card["made_with"] = {"from": plan.cell_name(plan.CENTRE), "accuracy": accuracy}
        own.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        taught.rename(folder)
        shutil.rmtree(work)

    def audit(self, model, cell, path, more):
        """Audits a model on its cell's rows; an audit that fails leaves nothing and is told."""
        if path.exists():
            return
        work = path.with_suffix(".work")
        command = ["audit", str(model), f"survey:looks={cell[0]}", "--out", str(work), "--json", *more,
                   "--data", str(self.out / "data")]
        part, log = path.with_suffix(".part"), path.with_suffix(".log")
        with open(log, "w", encoding="utf-8") as errors:
            code = self.execute(command, part, errors)
        if code == 0:
            # The program says on the first lines where it is; the last one is the result.
            part.write_text(part.read_text(encoding="utf-8").strip().splitlines()[-1] + "\n", encoding="utf-8")
            part.rename(path)
            shutil.rmtree(work, ignore_errors=True)
        else:
            print(f"audit of {model} FAILED ({code}), see {log}", flush=True)

    def make_missing(self, pool, wanted):
        """The runs (cell, arm, rate, seed) that neither the table nor the folder has, and the starters they need."""
        known = {results.key(row) for row in self.rows()}
        missing = [one for one in wanted if (plan.cell_name(one[0]), *one[1:]) not in known]
        list(pool.map(self.starter, dict.fromkeys(cell for cell, *_ in missing)))
        list(pool.map(lambda one: self.train(*one), missing))

    def train(self, cell, arm, rate, seed):
        """One run, and the audit of what it trained."""
        name = plan.cell_name(cell)
        starter = self.folder_of(cell)
        folder = self.out / "runs" / name / f"{arm}_{rate:g}_{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        spec = folder / "job.json"
        spec.write_text(json.dumps(plan.job(starter, cell, arm, rate, seed), indent=1) + "\n", encoding="utf-8")
        command = ["train", "--spec", str(spec), "--out", str(folder), "--data", str(self.out / "data")]
        code = self.execute(command, folder / "log")
        if code == 0 and (folder / "metrics.jsonl").exists():
            trained = folder / "checkpoints" / f"step-{plan.STEPS:08}"
            more = ["--rows", str(AUDIT_ROWS), "--samples", str(AUDIT_SAMPLES)]
            self.audit(trained, cell, folder / "audit.json", more)
            (folder / "done").touch()
            self.save()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        state = "done" if code == 0 else f"FAILED ({code}), see {folder}/log"
        print(f"{name} {arm} rate {rate:g} seed {seed}: {state}", flush=True)
