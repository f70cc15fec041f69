//! `vgpo score`: what `POST /v1/score` answers, without a server.

use std::process::ExitCode;

use vgpo::config::serving::EngineLimits;
use vgpo::serving::request::ScoreRequest;
use vgpo::serving::{Engine as _, LocalEngine, parse};

use super::inference::{Args, print, run as run_to_end};

/// Prints the answer.
pub fn run(args: &Args) -> ExitCode {
    run_to_end(score(args))
}

async fn score(args: &Args) -> Result<(), String> {
    let (request, model) = args.read()?;
    let request: ScoreRequest = parse(&request).map_err(|e| e.to_string())?;
    let engine = LocalEngine::new(EngineLimits::default());
    let answer = engine.score(&model, request).await.map_err(|e| e.to_string())?;
    print(&answer)
}
