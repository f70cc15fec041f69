//! Ground truths: one text, or several of which any is right.

use super::cell::Cell;
use super::json;

/// Most answers of a row that may be right.
const MAX_TRUTHS: usize = 64;
/// Fields of an object that hold its answer.
const ANSWER_FIELDS: [&str; 3] = ["answer", "text", "value"];
/// Fields that make an object a box.
const BOX_FIELDS: [&str; 5] = ["bbox_2d", "bbox", "box", "boxes", "x1"];

/// The truths in a cell, none where it is blank; an error says what is wrong with it.
pub(super) fn truths(cell: &Cell) -> Result<Vec<String>, String> {
    let mut answers = Vec::new();
    collect(cell, &mut answers, true)?;
    if answers.len() > MAX_TRUTHS {
        return Err(format!("holds at least {} answers; the limit is {MAX_TRUTHS}", answers.len()));
    }
    Ok(answers)
}

/// Adds the truths of a cell; those that are there already are not added again.
fn collect(cell: &Cell, answers: &mut Vec<String>, outermost: bool) -> Result<(), String> {
    match cell {
        blank if blank.is_blank() => {}
        Cell::Text(text) => match list_in(text).filter(|_| outermost) {
            Some(items) => items.into_iter().for_each(|item| add(item, answers)),
            None => add(text.clone(), answers),
        },
        Cell::Plain(value) => add(value.clone(), answers),
        Cell::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| "holds bytes that are not valid UTF-8 text")?;
            collect(&Cell::Text(text.to_owned()), answers, outermost)?;
        }
        Cell::List(items) if items.len() > 1 && is_numbers(cell) || is_boxes(items) => add(written(cell), answers),
        Cell::List(items) if is_list_of_lists(items) && is_numbers(cell) => add(written(cell), answers),
        Cell::List(items) => items.iter().try_for_each(|item| collect(item, answers, false))?,
        Cell::Record(_) if is_box(cell) => add(written(cell), answers),
        Cell::Record(values) => {
            let Some(inner) = ANSWER_FIELDS.iter().find_map(|name| cell.get(name)) else {
                let names: Vec<&str> = values.iter().take(20).map(|(name, _)| name.as_str()).collect();
                return Err(format!(
                    "is an object with the fields {}; name the one that is meant, e.g. `reward_model.ground_truth`",
                    names.join(", ")
                ));
            };
            collect(inner, answers, outermost)?;
        }
        Cell::Null => {}
        Cell::Other(kind) => return Err(format!("is {kind}; text is needed")),
    }
    Ok(())
}

/// One more than the limit is enough to refuse the list: nothing beyond it is compared, however long the list is.
fn add(text: String, answers: &mut Vec<String>) {
    if answers.len() <= MAX_TRUTHS && !text.trim().is_empty() && !answers.contains(&text) {
        answers.push(text);
    }
}

fn is_numbers(cell: &Cell) -> bool {
    match cell {
        Cell::Plain(value) => value.parse::<f64>().is_ok(),
        Cell::List(items) => !items.is_empty() && items.iter().all(is_numbers),
        _ => false,
    }
}

fn is_list_of_lists(items: &[Cell]) -> bool {
    items.iter().all(|item| matches!(item, Cell::List(_)))
}

fn is_box(cell: &Cell) -> bool {
    BOX_FIELDS.iter().any(|name| cell.get(name).is_some_and(|value| !value.is_blank()))
}

fn is_boxes(items: &[Cell]) -> bool {
    !items.is_empty() && items.iter().all(is_box)
}

/// A box as a text that rewards read: JSON.
fn written(cell: &Cell) -> String {
    match cell {
        Cell::List(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        Cell::Record(values) => {
            let fields = values.iter().filter(|(_, value)| !value.is_blank());
            let fields: Vec<String> = fields
                .map(|(name, value)| format!("{}: {}", serde_json::Value::from(name.as_str()), written(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Cell::Plain(value) => value.clone(),
        Cell::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        Cell::Null | Cell::Bytes(_) | Cell::Other(_) => "null".to_owned(),
    }
}

/// The texts of a list that was written as a text, by JSON or by Python; none where it is anything else, such as an
/// interval.
fn list_in(text: &str) -> Option<Vec<String>> {
    let trimmed = text.trim();
    if !(trimmed.starts_with("[\"") || trimmed.starts_with("['")) {
        return None;
    }
    if let Some(Cell::List(items)) = json::value(trimmed) {
        let text = |item| if let Cell::Text(text) = item { Some(text) } else { None };
        return items.into_iter().map(text).collect();
    }
    python_list(trimmed)
}

/// `['a', "b's"]` as Python prints a list of texts.
fn python_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?;
    let mut items = Vec::new();
    loop {
        rest = rest.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (mut item, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                c if escaped => {
                    item.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                c if c == quote => {
                    end = Some(at + 1);
                    break;
                }
                c => item.push(c),
            }
        }
        items.push(item);
        rest = rest[end?..].trim_start();
        if let Some(tail) = rest.strip_prefix(',') {
            rest = tail;
        } else {
            return (rest == "]").then_some(items);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Vec<String>, String> {
        truths(&json::value(json).unwrap())
    }

    #[test]
    fn more_answers_than_may_be_right_are_refused_however_they_are_written() {
        let texts = |count: usize| (0..count).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
        let (most, many, huge) = (texts(MAX_TRUTHS), texts(MAX_TRUTHS + 1), texts(200_000));
        assert_eq!(of(&format!("[{most}]")).unwrap().len(), MAX_TRUTHS);
        for list in [format!("[{many}]"), format!("[[{many}], [{many}]]"), format!("[{huge}]")] {
            let as_text = serde_json::Value::from(list.as_str()).to_string();
            assert!(of(&list).unwrap_err().contains("at least 65 answers"));
            // Nested lists in a text are one answer.
            assert!(list.starts_with("[[") || of(&as_text).unwrap_err().contains("at least 65 answers"));
        }
    }

    #[test]
    fn a_list_of_texts_means_any_of_them() {
        for (json, truths) in [
            (r#"["stop", "STOP", "stop", ""]"#, vec!["stop", "STOP"]),
            (r#""[\"stop\", \"STOP\"]""#, vec!["stop", "STOP"]),
            (r#""['it\\'s', \"b\"]""#, vec!["it's", "b"]),
            (r#"[{"answer": "net", "answer_id": 1}, {"answer": "nets", "answer_id": 2}]"#, vec!["net", "nets"]),
            (r#"{"text": ["Paris"], "answer_start": [3]}"#, vec!["Paris"]),
            ("[7]", vec!["7"]),
            (r#"["a", 2]"#, vec!["a", "2"]),
            (r#""[a, b]""#, vec!["[a, b]"]),
            (r#""[1, 2)""#, vec!["[1, 2)"]),
            (r#"  " " "#, vec![]),
            ("[]", vec![]),
        ] {
            assert_eq!(of(json).unwrap(), truths, "{json}");
        }
    }

    #[test]
    fn numbers_in_a_list_are_a_box() {
        for (json, truth) in [
            ("[29.12, 6.09, 60.74, 43.53]", "[29.12, 6.09, 60.74, 43.53]"),
            ("[[1,2,30,40],[5,6,20,21]]", "[[1, 2, 30, 40], [5, 6, 20, 21]]"),
            ("[[1,2,30,40]]", "[[1, 2, 30, 40]]"),
            (r#"{"bbox_2d": [1, 2, 3, 4], "label": "a"}"#, r#"{"bbox_2d": [1, 2, 3, 4], "label": "a"}"#),
            (r#"[{"bbox_2d": [1, 2, 3, 4]}]"#, r#"[{"bbox_2d": [1, 2, 3, 4]}]"#),
        ] {
            assert_eq!(of(json).unwrap(), [truth], "{json}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(of(r#"{"ground_truth": "1", "style": "rule"}"#).unwrap_err().contains("ground_truth, style"));
        let many: Vec<String> = (0..65).map(|n| format!("\"{n}\"")).collect();
        assert!(of(&format!("[{}]", many.join(","))).unwrap_err().contains("65 answers"));
    }
}
