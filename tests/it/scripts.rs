//! Scripts that compute what documents say: their own tests, by Python's unittest.

use std::process::Command;

#[test]
fn the_experiment_computes_what_its_plan_says() {
    let root = env!("CARGO_MANIFEST_DIR");
    let run = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "-s", "tests/scripts"])
        .current_dir(root)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    // unittest reports success for no tests at all in older versions of Python.
    assert!(run.status.success() && !said.contains("Ran 0 tests"), "{said}");
}
