//! `vgpo score`: the answer of `POST /v1/score`, without a server.

use std::process::ExitCode;

use crate::serving::request::ScoreRequest;
use crate::serving::{Engine as _, parse};

use super::inference::{Args, Ready, print};
use super::{block_on, fail};

/// Prints the answer.
pub fn run(args: &Args) -> ExitCode {
    block_on(score(args)).map_or_else(fail, |()| ExitCode::SUCCESS)
}

async fn score(args: &Args) -> Result<(), String> {
    let Ready { request, model, engine } = Box::pin(args.read()).await?;
    let request: ScoreRequest = parse(&request).map_err(|e| e.to_string())?;
    let answer = engine.score(&model, request).await.map_err(|e| e.to_string())?;
    print(&answer)
}
