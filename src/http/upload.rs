//! Uploads of files of a data set: a form, or one file as the whole body. Nothing is kept in memory.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::AppState;
use super::extract::shape;
use super::idempotency::{self, Begun};
use super::problem::{self, Problem};
use crate::domain::dataset::DatasetState;
use crate::domain::tree::Tree;
use crate::service::access::idempotency::IdempotencyRequest;
use crate::service::datasets::{DatasetEntry, DatasetRequest, Part, Upload, UploadedFile};
use crate::service::{Service, ServiceError};

/// The route, as it scopes `Idempotency-Key`.
pub const ROUTE: &str = "POST /v1/datasets";
const PATH: &str = "/v1/datasets";
/// Bytes of the text parts of a form together.
const TEXT: usize = 1 << 20;
/// Overhead of a text part, in bytes.
const PER_TEXT: usize = 64;
/// Bytes of a refused form that are read all the same: many clients look for the answer only when they have sent
/// everything.
const DRAINED: usize = 16 << 20;
const DRAIN_FOR: Duration = Duration::from_secs(5);

/// The form of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON body that says where the files are.
    Json,
    /// A form of fields and files.
    Form,
    /// One file, which is stored under this name.
    File(&'static str),
}

/// The form of an upload, by the `Content-Type` of the request.
pub fn kind(headers: &HeaderMap) -> Option<Kind> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Some(Kind::Json),
        "multipart/form-data" => Some(Kind::Form),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Some(Kind::File("rows.jsonl"))
        }
        "application/zip" => Some(Kind::File("files.zip")),
        "application/vnd.apache.parquet" => Some(Kind::File("rows.parquet")),
        _ => None,
    }
}

/// Does the request stream files? Then no limit holds for its whole duration.
pub fn is_upload(request: &Request) -> bool {
    let streams = || !matches!(kind(request.headers()), None | Some(Kind::Json));
    match *request.method() {
        Method::POST => request.uri().path() == PATH && streams(),
        Method::PUT => request.uri().path().starts_with(&format!("{PATH}/")),
        _ => false,
    }
}

/// Takes a part of a file. What has arrived when the client hangs up stays.
pub async fn part(state: &AppState, mut part: Part, request: Request) -> Result<UploadedFile, Problem> {
    let idle = idle(state);
    let mut body = request.into_body().into_data_stream();
    let work = async move {
        while let Some(bytes) = in_time(idle, body.next()).await? {
            part.write(&bytes.map_err(|error| broken(&error))?).await?;
        }
        Ok(part.finish().await?)
    };
    tokio::spawn(work).await.map_err(|error| ServiceError::Internal(error.to_string()))?
}

/// The longest pause between two pieces of a body.
fn idle(state: &AppState) -> Duration {
    Duration::from_secs(state.service.settings().limits.request_timeout_seconds)
}

/// Takes a form. Runs in a task of its own, so that nothing remains when a client disconnects.
pub async fn form(state: &AppState, fields: Map<String, Value>, mut request: Request) -> Result<Response, Problem> {
    let mut reader = UploadReader::new(state, request.headers(), fields);
    DefaultBodyLimit::disable().apply(&mut request);
    let form = Multipart::from_request(request, state).await;
    let mut form = form.map_err(|rejection| Problem::new(problem::BAD_REQUEST, rejection.body_text()))?;
    let work = async move {
        let received = reader.form(&mut form).await;
        if received.is_err() {
            let _ = tokio::time::timeout(DRAIN_FOR, drain(&mut form)).await;
        }
        reader.end(received).await
    };
    tokio::spawn(work).await.map_err(|error| ServiceError::Internal(error.to_string()))?
}

/// Takes a body that is the file `name`.
pub async fn file(
    state: &AppState,
    fields: Map<String, Value>,
    request: Request,
    name: &'static str,
) -> Result<Response, Problem> {
    let mut reader = UploadReader::new(state, request.headers(), fields);
    if !reader.fields.contains_key("name") {
        let detail = "a body that is not a form needs a name for the data set, e.g. POST /v1/datasets?name=mine";
        return Err(ServiceError::field("?name", detail).into());
    }
    let mut body = request.into_body().into_data_stream();
    let work = async move {
        let received = async {
            if let Some(replayed) = reader.begin_file(name).await? {
                return Ok(Some(replayed));
            }
            while let Some(bytes) = in_time(reader.idle, body.next()).await? {
                reader.write(&bytes.map_err(|error| broken(&error))?).await?;
            }
            Ok(None)
        }
        .await;
        reader.end(received).await
    };
    tokio::spawn(work).await.map_err(|error| ServiceError::Internal(error.to_string()))?
}

/// The value of a field that came as text: a part of a form or of the query.
pub fn field(name: &str, text: &str) -> Result<Value, Problem> {
    match name {
        "columns" | "eval_share" | "seed" => serde_json::from_str::<Tree>(text).map(|tree| tree.0).map_err(|error| {
            ServiceError::field(format!("/{name}"), format!("`{name}` is not valid JSON: {error}")).into()
        }),
        _ => Ok(json!(text)),
    }
}

/// An upload in progress.
struct UploadReader {
    service: Service,
    headers: HeaderMap,
    fields: Map<String, Value>,
    /// Longest pause between two pieces.
    idle: Duration,
    /// Bytes of the text parts so far.
    texts: usize,
    upload: Option<Upload>,
    key: Option<IdempotencyRequest>,
}

/// Received to the end; with an answer where the whole call was answered before.
type Received = Result<Option<Response>, Problem>;

impl UploadReader {
    fn new(state: &AppState, headers: &HeaderMap, fields: Map<String, Value>) -> Self {
        Self {
            service: state.service.clone(),
            headers: headers.clone(),
            fields,
            idle: idle(state),
            texts: 0,
            upload: None,
            key: None,
        }
    }

    async fn form(&mut self, form: &mut Multipart) -> Received {
        while let Some(mut part) = in_time(self.idle, form.next_field()).await?.map_err(|error| fault(&error))? {
            let name = part.name().unwrap_or_default().to_owned();
            let Some(file) = part.file_name().map(str::to_owned) else {
                let text = text(self.idle, &name, &mut part, TEXT.saturating_sub(self.texts)).await?;
                self.texts += name.len() + text.len() + PER_TEXT;
                self.set(&name, &text)?;
                continue;
            };
            // A browser sends an empty part for a file that was not chosen.
            if file.is_empty() {
                continue;
            }
            if let Some(replayed) = self.begin_file(&file).await? {
                return Ok(Some(replayed));
            }
            while let Some(bytes) = in_time(self.idle, part.chunk()).await?.map_err(|error| fault(&error))? {
                self.write(&bytes).await?;
            }
        }
        Ok(None)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), Problem> {
        let refuse = |detail: String| Err(ServiceError::field(format!("/{name}"), detail).into());
        if matches!(name, "file" | "files") {
            return refuse(format!("part `{name}` has no file name, so it is not a file"));
        }
        if self.upload.is_some() {
            return refuse(format!("`{name}` came after a file; fields must come first"));
        }
        self.fields.insert(name.to_owned(), field(name, text)?);
        Ok(())
    }

    async fn begin_file(&mut self, name: &str) -> Received {
        if self.upload.is_none() {
            let fields = Value::Object(self.fields.clone());
            let request: DatasetRequest = serde_path_to_error::deserialize(&fields).map_err(|error| shape(&error))?;
            // The content comes later and is too large to keep, so its announced length is used instead.
            let length = self.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            let identity = json!([fields, name, length]).to_string();
            match idempotency::begin(&self.service, &self.headers, ROUTE, identity.as_bytes()).await? {
                Begun::Replayed(response) => return Ok(Some(response)),
                Begun::Made(key, id) => {
                    let told = again(&self.service, &id).await.map_err(Problem::from);
                    let response = idempotency::finish(&self.service, Some(key), told).await;
                    return idempotency::replayed(response).map(Some);
                }
                Begun::New(key) => self.key = key,
            }
            self.upload = Some(self.service.datasets().begin_upload(request, name, None).await?);
        }
        if let Some(upload) = &mut self.upload {
            upload.begin_file(name).await?;
        }
        Ok(None)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        match &mut self.upload {
            Some(upload) => Ok(upload.write(bytes).await?),
            None => Ok(()),
        }
    }

    async fn end(self, received: Received) -> Result<Response, Problem> {
        let done = match (received, self.upload) {
            (Err(problem), Some(upload)) => {
                // Before the answer: who mends the fault sends it again under the same name.
                upload.take_back().await;
                Err(problem)
            }
            (Err(problem), None) => Err(problem),
            (Ok(Some(replayed)), _) => return Ok(replayed),
            (Ok(None), None) => {
                let detail = "no file came; send .jsonl, .parquet or .zip files, e.g. curl -F file=@rows.jsonl";
                Err(ServiceError::field("/file", detail).into())
            }
            (Ok(None), Some(upload)) => match upload.finish().await {
                Ok(record) => Ok((StatusCode::ACCEPTED, DatasetEntry::from(record))),
                Err(error) => Err(error.into()),
            },
        };
        idempotency::finish(&self.service, self.key, done).await
    }
}

/// What became of an upload whose answer was lost. One that is still coming is not carried out yet; one that came to
/// nothing has freed its key.
async fn again(service: &Service, id: &str) -> Result<(StatusCode, DatasetEntry), ServiceError> {
    let record = service.datasets().get(id).await?;
    if record.state == DatasetState::Uploading {
        return Err(ServiceError::IdempotencyInFlight);
    }
    Ok((StatusCode::ACCEPTED, DatasetEntry::from(record)))
}

/// A text part, within its limit.
async fn text(idle: Duration, name: &str, part: &mut Field<'_>, room: usize) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    let refuse = |detail: &str| Problem::from(ServiceError::field(format!("/{name}"), format!("`{name}` {detail}")));
    while let Some(more) = in_time(idle, part.chunk()).await?.map_err(|error| fault(&error))? {
        bytes.extend_from_slice(&more);
        if bytes.len() > room {
            let detail = format!(
                "makes the form's texts longer than {TEXT} bytes together, which is the limit; a part with a file name \
                is a file"
            );
            return Err(refuse(&detail));
        }
    }
    String::from_utf8(bytes).map_err(|_| refuse("is not valid UTF-8"))
}

async fn in_time<T>(idle: Duration, next: impl Future<Output = T>) -> Result<T, Problem> {
    let late = |_| Problem::new(problem::BAD_REQUEST, format!("no bytes came for {} seconds", idle.as_secs()));
    tokio::time::timeout(idle, next).await.map_err(late)
}

/// Reads on without keeping anything, within limits.
async fn drain(form: &mut Multipart) {
    let mut left = DRAINED;
    while let Ok(Some(mut part)) = form.next_field().await {
        while let Ok(Some(bytes)) = part.chunk().await {
            left = left.saturating_sub(Bytes::len(&bytes));
            if left == 0 {
                return;
            }
        }
    }
}

fn fault(error: &MultipartError) -> Problem {
    broken(&error.body_text())
}

fn broken(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(problem::BAD_REQUEST, format!("the upload broke off: {error}"))
}
