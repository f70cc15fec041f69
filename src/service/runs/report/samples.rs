//! Samples of a report: answers of the last step, with where the model looks while it reads them.

use serde::Serialize;

use crate::domain::message::{Content, Message, Part, Role};
use crate::domain::model_reference::ModelReference;
use crate::domain::page::Page;
use crate::domain::run::Run;
use crate::domain::sample::{SampleGroup, SampleRecord, SampleResponse};
use crate::domain::template_arguments::TemplateArguments;
use crate::service::Result;
use crate::service::runs::Runs;
use crate::serving::request::{AttentionOptions, MapFormat, MapScope, ScoreRequest};

/// Prompts of a report.
const PROMPTS: usize = 6;
/// Responses of a prompt.
const RESPONSES: usize = 3;
/// Image placeholders in a prompt after the chat template.
const IMAGE: &str = "<|image_pad|>";

/// One prompt of a report.
#[derive(Debug, Serialize)]
pub struct ReportSample {
    step: u64,
    row: u64,
    held_out: bool,
    question: String,
    answer: String,
    image: Option<String>,
    heat_map: Option<String>,
    responses: Vec<ReportResponse>,
}

#[derive(Debug, Serialize)]
struct ReportResponse {
    correct: Option<bool>,
    reward: f64,
    tokens: Vec<ReportToken>,
}

#[derive(Debug, Serialize)]
struct ReportToken {
    text: String,
    focus: Option<f64>,
    /// Colour of the focus, 0 (least of this prompt) to 15 (most); none without images.
    shade: Option<u8>,
}

impl Runs {
    /// Samples of the last step that has any; held-out ones first, because they are the same at every step.
    pub(super) async fn report_samples(&self, run: &Run) -> Result<Vec<ReportSample>> {
        let Some(last) = self.store.sample_steps(&run.id).await?.into_iter().next_back() else { return Ok(Vec::new()) };
        let page = Page { limit: 200, after: None };
        let mut records = self.store.samples(&run.id, Some(last.step), &page).await?.data;
        records.sort_by_key(|record| !record.group.eval);
        records.truncate(PROMPTS);
        let mut samples = Vec::with_capacity(records.len());
        for record in records {
            let heat_map = self.heat_map(run, &record.group).await;
            samples.push(sample(record, heat_map));
        }
        Ok(samples)
    }

    /// Where the run's newest model looks while it reads the first response, over the image. The report does without
    /// when the model cannot be loaded or is busy.
    async fn heat_map(&self, run: &Run, group: &SampleGroup) -> Option<String> {
        let response = group.responses.first()?;
        run.last_checkpoint.as_ref()?;
        let request = ScoreRequest {
            model: ModelReference::last_of(&run.id).to_string(),
            messages: Some(messages(group)),
            prompt: None,
            images: None,
            chat_template_kwargs: TemplateArguments::default(),
            responses: vec![response.tokens.concat()],
            rewards: None,
            method: None,
            attention: AttentionOptions {
                maps: MapScope::Summary,
                format: MapFormat::Png,
                ..AttentionOptions::default()
            },
            ablate: None,
        };
        let scored = self
            .inference()
            .score(request)
            .await
            .inspect_err(|error| tracing::debug!(%error, "a report without heat map"));
        scored.ok()?.responses.into_iter().next()?.attention.summary.into_iter().next()?.png
    }
}

/// The turns of a prompt that went through the chat template, with its images in their places.
fn messages(group: &SampleGroup) -> Vec<Message> {
    let mut images = group.images.iter();
    let turns = group.prompt.split("<|im_start|>").filter_map(|turn| turn.split_once('\n'));
    let messages = turns.filter_map(|(role, rest)| {
        let (text, _) = rest.split_once("<|im_end|>")?;
        match role {
            "system" => Some(Message { role: Role::System, content: Content::Text(text.to_owned()) }),
            "user" => {
                let text = text.replace("<|vision_start|>", "").replace("<|vision_end|>", "");
                let mut parts = Vec::new();
                for (n, piece) in text.split(IMAGE).enumerate() {
                    if n > 0
                        && let Some(image) = images.next()
                    {
                        parts.push(Part::of_image(format!("data:image/png;base64,{image}")));
                    }
                    if !piece.is_empty() {
                        parts.push(Part::Text { text: piece.to_owned() });
                    }
                }
                Some(Message { role: Role::User, content: Content::Parts(parts) })
            }
            _ => None,
        }
    });
    messages.collect()
}

fn sample(record: SampleRecord, heat_map: Option<String>) -> ReportSample {
    let SampleRecord { step, group, .. } = record;
    let question = messages(&group).iter().filter(|m| m.role == Role::User).map(words).collect::<Vec<_>>().join(" ");
    let all = || group.responses.iter().take(RESPONSES).filter_map(|r| r.focus.as_ref()).flatten().copied();
    let span = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    ReportSample {
        step,
        row: group.row,
        held_out: group.eval,
        question,
        answer: group.answer.clone(),
        image: group.images.first().cloned(),
        heat_map,
        responses: group.responses.iter().take(RESPONSES).map(|one| response(one, span)).collect(),
    }
}

fn words(message: &Message) -> String {
    match &message.content {
        Content::Text(text) => text.clone(),
        Content::Parts(parts) => parts.iter().filter_map(Part::text).collect::<Vec<_>>().join(" "),
    }
}

fn response(response: &SampleResponse, (low, high): (f64, f64)) -> ReportResponse {
    let shade = |focus: f64| ((focus - low) / (high - low).max(1e-9) * 15.0).round().clamp(0.0, 15.0) as u8;
    let token = |(at, text): (usize, &String)| {
        let focus = response.focus.as_ref().and_then(|all| all.get(at)).copied();
        ReportToken { text: text.clone(), focus, shade: focus.map(shade) }
    };
    ReportResponse {
        correct: response.correct,
        reward: response.reward,
        tokens: response.tokens.iter().enumerate().map(token).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_prompt_becomes_its_turns_again() {
        let prompt = "<|im_start|>system\nbe short<|im_end|>\n<|im_start|>user\nleft \
                      <|vision_start|><|image_pad|><|vision_end|> or \
                      <|vision_start|><|image_pad|><|vision_end|>?<|im_end|>\n<|im_start|>assistant\n";
        let group = SampleGroup {
            row: 0,
            eval: true,
            prompt: prompt.to_owned(),
            answer: String::new(),
            images: vec!["A".to_owned(), "B".to_owned()],
            responses: Vec::new(),
        };
        let turns = messages(&group);
        assert_eq!(turns.len(), 2);
        assert_eq!(turns[0].content, Content::Text("be short".to_owned()));
        let Content::Parts(parts) = &turns[1].content else { panic!("a list of parts") };
        let image = |data: &str| Part::of_image(format!("data:image/png;base64,{data}"));
        let text = |text: &str| Part::Text { text: text.to_owned() };
        assert_eq!(*parts, [text("left "), image("A"), text(" or "), image("B"), text("?")]);
    }
}
