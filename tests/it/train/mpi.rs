//! The same over real processes, which `mpirun` starts: equal bits, and ranks that are killed or stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::store::postgres::is_required;

/// The command that starts `ranks` processes here; none where it is not installed.
pub fn launcher(ranks: &str) -> Option<Vec<String>> {
    let installed = Command::new("mpirun").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(installed || !is_required("mpi"), "VGPO_TEST_REQUIRE asks for mpi: apt-get install openmpi-bin");
    let words = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", ranks];
    installed.then(|| words.map(str::to_owned).to_vec())
}

fn job(dir: &Path, steps: u64) -> PathBuf {
    let path = dir.join("job.json");
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/starter");
    let job = json!({
        "model": starter, "dataset": "digits", "steps": steps, "eval_before": false, "eval_every": 0, "eval_rows": 3,
        "checkpoint_every": 1, "log_samples_every": 0, "resources": { "ranks": 4 },
        "batch": { "prompts_per_step": 4, "minibatch_prompts": 4, "microbatch_tokens": 512 },
        "rollout": { "group_size": 3, "max_new_tokens": 40, "filter": null },
    });
    std::fs::write(&path, job.to_string()).unwrap();
    path
}

/// `vgpo train` on this number of ranks; 1: without a launcher.
fn train(ranks: usize, job: &Path, out: &Path) -> Option<Command> {
    let mut words = if ranks == 1 { Vec::new() } else { launcher(&ranks.to_string())? };
    words.push(env!("CARGO_BIN_EXE_vgpo").to_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("train").arg("--spec").arg(job).arg("--out").arg(out);
    command.env("VGPO_RANK_SILENCE_SECONDS", "3").stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(command)
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Weights and optimizer of a step.
fn state(out: &Path, step: u64) -> Vec<Vec<u8>> {
    let dir = out.join(format!("checkpoints/step-{step:08}"));
    ["model.safetensors", "trainer/optimizer.safetensors"].map(|file| std::fs::read(dir.join(file)).unwrap()).to_vec()
}

/// The process of a rank of the run in `out`.
pub fn process(rank: usize, out: &Path) -> Option<u32> {
    let (place, own) = (out.display().to_string(), format!("OMPI_COMM_WORLD_RANK={rank}"));
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        let of_run = String::from_utf8_lossy(&command).contains(&place);
        (of_run && environment.split(|byte| *byte == 0).any(|line| line == own.as_bytes())).then_some(pid)
    })
}

pub fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Waits until `there` is.
pub fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited for {what}");
}

#[test]
fn processes_give_the_bits_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let job = job(dir.path(), 2);
    let mut wanted = None;
    for ranks in [1, 2, 4] {
        let out = dir.path().join(format!("out-{ranks}"));
        let Some(mut command) = train(ranks, &job, &out) else { return };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{ranks} ranks: {}", told(&output));
        assert_eq!(told(&output).matches("results in").count(), 1, "rank 0 alone reports: {}", told(&output));
        let found = state(&out, 2);
        assert!(wanted.get_or_insert_with(|| found.clone()) == &found, "{ranks} ranks");
        let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let first: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
        assert!(first["values"]["optimizer/grad_norm"].as_f64().unwrap() > 0.0, "something was learned");
        assert_eq!(first["values"]["ranks/sent_bytes"].as_f64().is_some_and(|bytes| bytes > 1e5), ranks > 1);
    }
}

/// Starts two ranks and returns them once they have taken a step.
fn under_way(job: &Path, out: &Path) -> Option<Child> {
    let running = train(2, job, out)?.spawn().unwrap();
    wait_until("the first checkpoint", || out.join("checkpoints/step-00000001").is_dir());
    Some(running)
}

/// The run in `out` ends as one that nothing happened to.
fn resumes(job: &Path, out: &Path, undisturbed: &Path) {
    for (ranks, out) in [(2, out), (1, undisturbed)] {
        let output = train(ranks, job, out).unwrap().output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }
    assert!(state(out, 3) == state(undisturbed, 3));
}

#[test]
fn a_killed_or_stopped_rank_ends_all_and_the_run_resumes() {
    for (rank, sent) in [(1, "-KILL"), (1, "-STOP"), (0, "-STOP")] {
        let dir = tempfile::tempdir().unwrap();
        let (job, out) = (job(dir.path(), 3), dir.path().join("out"));
        let Some(running) = under_way(&job, &out) else { return };
        let pid = process(rank, &out).expect("the rank is there");
        signal(pid, sent);
        let clock = vgpo::clock::Stopwatch::start();
        let output = running.wait_with_output().unwrap();
        assert!(!output.status.success());
        assert!(clock.seconds() < 120.0, "{sent} of rank {rank}: it took {:.0} s", clock.seconds());
        let text = told(&output);
        if sent == "-STOP" {
            assert!(text.contains(&format!("rank {rank} (host ")), "{text}");
            assert!(text.contains(&format!("process {pid}) is silent for")), "{text}");
        } else {
            assert!(text.contains("signal 9"), "{text}");
        }
        if (rank, sent) == (1, "-KILL") {
            resumes(&job, &out, &dir.path().join("undisturbed"));
        }
    }
}
