//! The program `vgpo`: see `vgpo --help`.

use std::process::ExitCode;

use clap::Parser as _;
use vgpo::{Cli, PRODUCT_THREADS};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of candle's element-wise operations; candle reads it once, so it must be set before the process starts.
const ELEMENTWISE_THREADS: &str = "CANDLE_NUM_THREADS";
/// Milliseconds until the allocator gives unused pages back. It gives back all that are unused at that moment, and
/// faulting every buffer in again costs a fifth of an update: that should happen once in many steps.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "60000");

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Each on its own: `cargo run` and other surroundings may have set some of them.
    if [ELEMENTWISE_THREADS, PRODUCT_THREADS, PURGE_DELAY.0].iter().any(|name| std::env::var_os(name).is_none()) {
        return restart_with_settled_threads(cli.runs_one_graph_per_core());
    }
    cli.run()
}

/// Starts this program again with candle's spinning thread pool off: the trainer and the engine run one graph per
/// thread, and a pool that spins at every small operation costs them most of their time (measured: 5 to 8 times).
#[allow(clippy::print_stderr)]
fn restart_with_settled_threads(one_graph_per_core: bool) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("error: cannot find this program's own file: {error}; set {ELEMENTWISE_THREADS}=1");
            return ExitCode::FAILURE;
        }
    };
    let mut command = std::process::Command::new(program);
    command.args(std::env::args_os().skip(1));
    if std::env::var_os(ELEMENTWISE_THREADS).is_none() {
        command.env(ELEMENTWISE_THREADS, "1");
    }
    if std::env::var_os(PURGE_DELAY.0).is_none() {
        command.env(PURGE_DELAY.0, PURGE_DELAY.1);
    }
    // Without this setting, candle counts the machine's cores again for every product.
    if std::env::var_os(PRODUCT_THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if one_graph_per_core { 1 } else { cores };
        command.env(PRODUCT_THREADS, threads.to_string());
    }
    eprintln!("error: cannot start: {}", replace_process(command));
    ExitCode::FAILURE
}

/// Returns only when the process could not be replaced.
#[cfg(unix)]
fn replace_process(mut command: std::process::Command) -> std::io::Error {
    std::os::unix::process::CommandExt::exec(&mut command)
}

/// Where a process cannot be replaced, it waits for its successor and ends with its code.
#[cfg(not(unix))]
fn replace_process(mut command: std::process::Command) -> std::io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}
