//! `vgpo explain`: a worked example of one group.

use std::io::Write as _;
use std::process::ExitCode;

use crate::algorithm::explain::explain;
use crate::config::method;

use super::{fail, read_input};

/// Arguments of `vgpo explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A case: `{"config": {…}, "has_image": true, "responses": [{"similarity": […], "reward": 1, "old_logprobs": […],
    /// "logprobs": […]}, …]}`; absent settings are the defaults. `-` reads standard input.
    #[arg(value_name = "FILE|-")]
    case: String,
}

/// Prints all values of VGPO for the case.
pub fn run(args: &Args) -> ExitCode {
    let text = match read_input(&args.case) {
        Ok(text) => text,
        Err(error) => return fail(error),
    };
    let explanation = match explain(&text, method::vgpo) {
        Ok(explanation) => explanation,
        Err(error) => return fail(error),
    };
    let printed = serde_json::to_string(&explanation)
        .map_err(std::io::Error::from)
        .and_then(|json| writeln!(std::io::stdout(), "{json}"));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(format!("cannot write the explanation: {error}")),
    }
}
