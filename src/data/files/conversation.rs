//! Prompts that are conversations: `messages` as `OpenAI` writes them, `conversations` as `ShareGPT` does, also as JSON
//! in a text.

use super::cell::Cell;
use super::json;

const IMAGE_MARK: &str = "<image>";

/// One question, what came before it, and its answer where there is one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Conversation {
    pub(super) system: Option<String>,
    pub(super) prompt: String,
    /// Images in the messages themselves.
    pub(super) images: Vec<Cell>,
    pub(super) reply: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Speaker {
    System,
    User,
    Assistant,
}

/// The conversation in a cell; none where it is something else.
pub(super) fn conversation(cell: &Cell) -> Option<Result<Conversation, String>> {
    match cell {
        Cell::List(turns) => turns.first().is_some_and(is_turn).then(|| read(turns)),
        Cell::Record(_) if is_turn(cell) => Some(read(std::slice::from_ref(cell))),
        Cell::Text(text) if text.trim_start().starts_with("[{") || text.trim_start().starts_with("{\"role\"") => {
            conversation(&json::value(text)?)
        }
        Cell::Bytes(bytes) => conversation(&Cell::Text(std::str::from_utf8(bytes).ok()?.to_owned())),
        _ => None,
    }
}

fn is_turn(cell: &Cell) -> bool {
    let both = |speaker: &str, text: &str| cell.get(speaker).is_some() && cell.get(text).is_some();
    both("role", "content") || both("from", "value")
}

fn read(turns: &[Cell]) -> Result<Conversation, String> {
    let mut conversation = Conversation::default();
    let mut last = None;
    for (index, turn) in turns.iter().enumerate() {
        let number = index + 1;
        let speaker = speaker(turn).map_err(|problem| format!("message {number}: {problem}"))?;
        let mut text = String::new();
        let content = turn.get("content").or_else(|| turn.get("value")).unwrap_or(&Cell::Null);
        read_content(content, &mut text, &mut conversation.images)
            .map_err(|problem| format!("message {number}: {problem}"))?;
        match (last, speaker) {
            (None, Speaker::System) => conversation.system = Some(text).filter(|text| !text.trim().is_empty()),
            (None | Some(Speaker::System), Speaker::User) => conversation.prompt = text,
            (Some(Speaker::User), Speaker::Assistant) => {
                conversation.reply = Some(text).filter(|text| !text.trim().is_empty());
            }
            _ => {
                return Err(format!(
                    "is a conversation of {} messages; a row is one question: a system message or none, one user \
                     message, one answer or none",
                    turns.len()
                ));
            }
        }
        last = Some(speaker);
    }
    Ok(conversation)
}

fn speaker(turn: &Cell) -> Result<Speaker, String> {
    let name = match turn.get("role").or_else(|| turn.get("from")) {
        Some(Cell::Text(name)) => name.trim().to_ascii_lowercase(),
        other => return Err(format!("its role is {}", other.unwrap_or(&Cell::Null).kind())),
    };
    match name.as_str() {
        "system" | "developer" => Ok(Speaker::System),
        "user" | "human" => Ok(Speaker::User),
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" => Ok(Speaker::Assistant),
        _ => {
            let shown: String = name.chars().take(60).collect();
            Err(format!("its role is `{shown}`; it must be system, user (human) or assistant (gpt)"))
        }
    }
}

/// Adds a message's text, with a mark for each image, and its images.
fn read_content(content: &Cell, text: &mut String, images: &mut Vec<Cell>) -> Result<(), String> {
    match content {
        Cell::Null => {}
        Cell::Text(piece) | Cell::Plain(piece) => text.push_str(piece),
        Cell::List(parts) => parts.iter().try_for_each(|part| read_content(part, text, images))?,
        Cell::Record(_) => return read_part(content, text, images),
        other => return Err(format!("its content is {}; text or a list of parts is needed", other.kind())),
    }
    Ok(())
}

fn read_part(part: &Cell, text: &mut String, images: &mut Vec<Cell>) -> Result<(), String> {
    let kind = if let Some(Cell::Text(kind)) = part.get("type") { kind.as_str() } else { "" };
    if kind.contains("video") || kind.contains("audio") {
        return Err(format!("it holds `{kind}`; only text and still images are read"));
    }
    let given = ["image", "image_url", "url", "path", "bytes"].into_iter().find_map(|name| {
        let cell = part.get(name)?;
        let inner = cell.get("url").filter(|_| name == "image_url").unwrap_or(cell);
        (!inner.is_blank()).then(|| if name == "bytes" { part.clone() } else { inner.clone() })
    });
    if kind.contains("image") || (kind.is_empty() && given.is_some()) {
        text.push_str(IMAGE_MARK);
        images.extend(given);
        return Ok(());
    }
    if let Some(inner @ (Cell::Text(_) | Cell::Null)) = part.get("text").or_else(|| part.get("content")) {
        return read_content(inner, text, images);
    }
    let shown: String = kind.chars().take(60).collect();
    Err(format!("a part of its content is of type `{shown}` and has no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Option<Result<Conversation, String>> {
        conversation(&json::value(json).unwrap())
    }

    #[test]
    fn both_forms_are_read() {
        let conversation = of(r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": [
            {"type": "image", "image": "a.png", "text": null}, {"type": "text", "text": "What?", "image": null},
            {"type": "image_url", "image_url": {"url": "data:,"}}]}, {"role": "assistant", "content": "Red."}]"#);
        let conversation = conversation.unwrap().unwrap();
        assert_eq!(
            (conversation.system.as_deref(), conversation.prompt.as_str()),
            (Some("Be brief."), "<image>What?<image>")
        );
        assert_eq!((conversation.images.len(), conversation.reply.as_deref()), (2, Some("Red.")));
        let conversation = of(r#"[{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Red."}]"#);
        let conversation = conversation.unwrap().unwrap();
        assert_eq!((conversation.prompt.as_str(), conversation.reply.as_deref()), ("<image>\nWhat?", Some("Red.")));
        let text = of(r#""[{\"role\": \"user\", \"content\": \"Find x.\"}]""#).unwrap().unwrap();
        assert_eq!(text.prompt, "Find x.");
    }

    #[test]
    fn what_is_something_else_stays_what_it_is() {
        for json in [r#""[{x}]""#, r#""Find x.""#, "[1, 2]", r#"[{"a": 1}]"#, r#""[{\"a\": 1}]""#] {
            assert!(of(json).is_none(), "{json}");
        }
    }

    #[test]
    fn several_questions_are_refused() {
        for (json, told) in [
            (r#"[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]"#, "of 2 messages"),
            (r#"[{"role": "assistant", "content": "a"}]"#, "of 1 messages"),
            (r#"[{"role": "tool", "content": "a"}]"#, "message 1: its role is `tool`"),
            (r#"[{"role": "user", "content": [{"type": "video", "video": "a"}]}]"#, "only text and still images"),
        ] {
            let error = of(json).unwrap().unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
