//! `vgpo starter build`: builds the starter model, or one for a survey, from scratch.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::data::survey::SurveySettings;
use crate::starter::build::build;
use crate::starter::family::StarterFamily;
use crate::starter::recipe::Recipe;

use super::fail;
use super::progress::Foreground;

/// The task of the starter that ships.
const DIGITS: &str = "digits";

/// Arguments of `vgpo starter`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Build the starter: vision pre-training, then supervised training on forgetful demonstrations (minutes).
    Build {
        /// The folder to write; must not exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// What it is made of, as a `model_type`: `qwen2_5_vl`, which the starter that ships is, or `qwen3_5`.
        #[arg(long, value_name = "TYPE", default_value = StarterFamily::ALL[0].0, value_parser = StarterFamily::named)]
        family: StarterFamily,
        /// What it is taught: `digits`, which the starter that ships is, or `survey`, also with settings, e.g.
        /// `survey:looks=9,filler=1.5,forgetting=0.6`.
        #[arg(long, value_name = "TASK", default_value = DIGITS, value_parser = recipe_of)]
        task: Recipe,
        /// Seed of everything random.
        #[arg(long)]
        seed: Option<u64>,
        /// Steps of vision pre-training.
        #[arg(long)]
        vision_steps: Option<u64>,
        /// Steps of supervised training.
        #[arg(long)]
        sft_steps: Option<u64>,
    },
}

/// The recipe for a task.
fn recipe_of(task: &str) -> Result<Recipe, String> {
    if task == DIGITS {
        return Ok(Recipe::default());
    }
    let settings = SurveySettings::parse(task, SurveySettings::forgetful()).ok_or_else(|| {
        let task: String = task.chars().take(80).collect();
        format!("no starter is taught `{task}`; there are: {DIGITS}, survey, and survey with settings")
    })?;
    settings.map(Recipe::survey).map_err(|error| error.to_string())
}

/// Builds the starter.
#[allow(clippy::print_stdout)]
pub fn run(args: &Args) -> ExitCode {
    let Command::Build { out, family, task: default, seed, vision_steps, sft_steps } = &args.command;
    let recipe = Recipe {
        family: *family,
        seed: seed.unwrap_or(default.seed),
        vision_steps: vision_steps.unwrap_or(default.vision_steps),
        sft_steps: sft_steps.unwrap_or(default.sft_steps),
        ..*default
    };
    let logs = match tempfile::tempdir() {
        Ok(logs) => logs,
        Err(error) => return fail(error),
    };
    let mut sink = Foreground::new(logs.path(), recipe.sft_steps, Arc::new(AtomicBool::new(false)), false);
    match build(out, &recipe, &mut sink) {
        Ok(built) => {
            println!(
                "vision names {:.1}% of held-out digits; the starter answers {} of held-out questions; written to {}",
                100.0 * built.vision_accuracy,
                built.accuracy.map_or("an unknown share".to_owned(), |a| format!("{:.1}%", 100.0 * a)),
                out.display()
            );
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_named_by_its_task() {
        assert_eq!(recipe_of("digits").unwrap(), Recipe::default());
        assert_eq!(recipe_of("survey").unwrap().survey, Some(SurveySettings::forgetful()));
        let honest = recipe_of("survey:looks=16,forgetting=0").unwrap().survey.unwrap();
        assert_eq!((honest.looks, honest.filler, honest.forgetting), (16, SurveySettings::default().filler, 0.0));
        assert!(recipe_of("survey:looks=7").unwrap_err().contains("one of 4, 6, 9, 12, 16"));
        assert!(recipe_of("chart").unwrap_err().contains("there are: digits, survey"));
    }
}
