//! What the starter model says about itself: its card and the job settings it recommends.

use serde_json::{Value, json};

use crate::data::survey::SurveySettings;

use super::recipe::Recipe;

/// Card and recommended settings, stored as `vgpo.json` in the starter's folder.
pub fn card(recipe: &Recipe) -> Value {
    recipe.survey.map_or_else(digits, |settings| survey(&settings, recipe.response_tokens()))
}

fn survey(settings: &SurveySettings, tokens: u32) -> Value {
    let ([rows, columns], looks) = (settings.grid(), settings.looks);
    json!({
        "card": {
            "title": format!("VGPO starter for `{settings}`"),
            "task": format!(
                "Questions that need all of {looks} handwritten digits in {rows} x {columns} cells: the last digit of \
                 their sum, how many are even, or how many are larger than 4."
            ),
            "limits": "It knows the words of this task only, and pictures of white handwritten digits on black, one in \
                       each cell of 28 x 28 pixels. Unless its settings say otherwise, it was taught by a demonstrator \
                       who looks less the later it is. It is a demonstration, not an assistant.",
            "accepts": { "min_images": 1, "max_images": 1, "image_sizes": [[28 * columns, 28 * rows]] },
            "examples": [
                "what is the last digit of the sum of all digits ?",
                "how many digits are even ?",
                "how many digits are larger than 4 ?",
            ],
            "license": "MIT OR Apache-2.0",
        },
        "recommended": {
            "reward": { "type": "math" },
            "rollout": { "group_size": 8, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": tokens,
                "filter": { "max_tries": 1 } },
            "batch": { "prompts_per_step": 16, "minibatch_prompts": 4, "microbatch_tokens": 2048 },
            "optimizer": { "learning_rate": 1e-4, "betas": [0.9, 0.95], "weight_decay": 0.01, "warmup_steps": 5 },
            "steps": 40,
            "eval_every": 8,
            "checkpoint_every": 8,
            "log_samples_every": 8,
        },
    })
}

fn digits() -> Value {
    json!({
        "card": {
            "title": "VGPO starter",
            "task": "Questions about four handwritten digits in a 2 x 2 grid (56 x 56 pixels): their sum, the largest, \
                     the smallest, how many are even, or the digit at a position.",
            "limits": "It knows the words of this task only, and pictures of four white handwritten digits on black. \
                       It was taught by a demonstrator who forgets to look, so that there is something to repair: \
                       trained further with a reward it learns to look again. It is a demonstration, not an assistant.",
            "accepts": { "min_images": 1, "max_images": 1, "image_sizes": [[56, 56]] },
            "examples": [
                "what is the sum of the digits ?",
                "what is the largest digit ?",
                "how many digits are even ?",
            ],
            "license": "MIT OR Apache-2.0",
        },
        "recommended": {
            "reward": { "type": "math" },
            "rollout": { "group_size": 8, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 48,
                "filter": { "max_tries": 1 } },
            "batch": { "prompts_per_step": 32, "minibatch_prompts": 32, "microbatch_tokens": 1024 },
            "optimizer": { "learning_rate": 1e-4, "betas": [0.9, 0.95], "weight_decay": 0.01, "warmup_steps": 5 },
            "steps": 40,
            "eval_every": 8,
            "checkpoint_every": 8,
            "log_samples_every": 8,
        },
    })
}
