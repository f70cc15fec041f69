//! `vgpo explain`: one group, worked out in the open.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use vgpo::algorithm::explain::explain;
use vgpo::config::method;

use super::fail;

/// Arguments of `vgpo explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A case: `{"config": {…}, "has_image": true, "responses": [{"similarity": […], "reward": 1, "old_logprobs": […],
    /// "logprobs": […]}, …]}`; absent settings are the defaults. `-` reads standard input.
    #[arg(value_name = "FILE|-")]
    case: String,
}

/// Prints what VGPO makes of the case.
pub fn run(args: &Args) -> ExitCode {
    let mut text = String::new();
    let read = if args.case == "-" {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(&args.case).map(|t| text = t)
    };
    if let Err(error) = read {
        return fail(format!("cannot read {}: {error}", args.case));
    }
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
