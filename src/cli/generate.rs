//! `vgpo generate`: the answer of `POST /generate`, without a server.

use std::process::ExitCode;

use crate::serving::request::GenerateRequest;
use crate::serving::{Engine as _, GenerateEvent, parse};
use serde_json::json;

use super::inference::{Args, Ready, print};
use super::{block_on, fail};

/// Prints the answer; with `"stream": true` one line per event.
pub fn run(args: &Args) -> ExitCode {
    block_on(generate(args)).map_or_else(fail, |()| ExitCode::SUCCESS)
}

async fn generate(args: &Args) -> Result<(), String> {
    let Ready { request, model, engine } = Box::pin(args.read()).await?;
    let request: GenerateRequest = parse(&request).map_err(|e| e.to_string())?;
    let streams = request.stream;
    let mut events = engine.generate(&model, request).await.map_err(|e| e.to_string())?;
    while let Some(event) = events.next_event().await {
        match event {
            GenerateEvent::Token(token) => print(&json!({"event": "token", "data": token}))?,
            GenerateEvent::Done(answer) if streams => print(&json!({"event": "done", "data": answer}))?,
            GenerateEvent::Done(answer) => print(&answer)?,
            GenerateEvent::Failed(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}
