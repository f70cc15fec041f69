//! Explanations of problems, for people: where `type` points.

use std::fmt::Write as _;

use axum::extract::Path;
use axum::response::Html;

use super::problem::{self, CODES, Code, Problem};

/// Every kind of problem on one page.
pub async fn index() -> Html<String> {
    let mut body = String::new();
    for code in CODES {
        let _ = write!(body, "<li><a href=\"/problems/{}\">{}</a>: {}</li>", code.name, code.name, code.title);
    }
    Html(document("Problems", &format!("<ul>{body}</ul>")))
}

/// One kind of problem.
pub async fn page(Path(name): Path<String>) -> Result<Html<String>, Problem> {
    let Some(code) = problem::find(&name) else {
        return Err(Problem::new(problem::NOT_FOUND, "there is no such problem code; /problems lists them all"));
    };
    Ok(Html(document(code.title, &explanation(code))))
}

fn explanation(code: &Code) -> String {
    format!("<p>Code <code>{}</code>, HTTP status {}.</p><p>{}</p>", code.name, code.status, code.explanation)
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>{body}</html>"
    )
}
