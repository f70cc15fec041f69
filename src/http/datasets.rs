//! `/v1/datasets`

use axum::extract::{FromRequest, Path, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{QueryParams, RawJson, WholeQuery, query_fault};
use super::problem::{self, Problem, ProblemBody};
use super::{AppState, answer, idempotency, upload};
use crate::domain::page::Listing;
use crate::service::Service;
use crate::service::datasets::{DatasetEntry, DatasetRequest, PreviewRow, RowsWanted, UploadedFile};

/// Rows of a preview.
const ROWS: u64 = 20;
/// Most rows of a preview: each may hold several images.
pub(super) const MAX_ROWS: u64 = 100;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create_dataset, list_datasets))
        .routes(routes!(get_dataset, delete_dataset))
        .routes(routes!(dataset_rows))
        .routes(routes!(dataset_files))
        .routes(routes!(put_dataset_file))
        .routes(routes!(finish_dataset))
}

/// Fields of an upload whose body is a file.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UploadQuery {
    /// Its name; required if the body is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The project it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    /// A description for display.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Column names that differ from the defaults, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<String>,
    /// `auto`, `train`, `eval` or `held_out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    /// The column with a row's split; empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    split_column: Option<String>,
    /// Share of the rows that is held out if nothing defines the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_share: Option<String>,
    /// Seed that selects the held-out rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
    /// The model whose tokens are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// `refuse`: a row that cannot be used makes the data set invalid. `leave_out`: it is left out and reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_rows: Option<String>,
}

impl UploadQuery {
    fn fields(&self) -> Result<Map<String, Value>, Problem> {
        let mut fields = Map::new();
        let given = serde_json::to_value(self).unwrap_or_default();
        for (name, value) in given.as_object().into_iter().flatten() {
            fields.insert(name.clone(), upload::field(name, value.as_str().unwrap_or_default())?);
        }
        Ok(fields)
    }
}

/// A form: the fields of `DatasetRequest` (`columns` as JSON) before the files.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "describes the form; its parts are read one by one in upload.rs")]
struct UploadForm {
    /// Its name; by default that of the first file.
    name: Option<String>,
    /// A `.jsonl`, `.parquet`, `.zip` or image file; any number of them, with paths as file names.
    #[schema(value_type = String, format = Binary)]
    file: String,
}

/// Upload a data set, or register files on the server's machine or on a hub.
///
/// The answer is sent after the last byte: the data set is then `validating`, and `ready` or `invalid` once every row
/// was checked; `report` counts the bad rows and lists the first ones. With `bad_rows=leave_out` they are left
/// out. Bodies: `multipart/form-data` (fields, then files), `application/x-ndjson`, `application/zip` or `application/vnd.apache.parquet` (one file, fields in the
/// query), or JSON with `source`. An interrupted upload is discarded. Large files can be sent in parts, which are kept:
/// `{"source": {"upload": "parts"}}`, then `PUT …/files/{path}?offset=` for every part, then `POST …/finish`. Files of
/// a hub (`{"source": {"hub": "org/name"}}`) are downloaded in the background; the data set is `uploading` meanwhile.
#[utoipa::path(
    post, path = "/v1/datasets", tag = "datasets", operation_id = "create_dataset",
    params(UploadQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "Executes the request only once within 24 hours; a \
            repeat gets the first answer with `Idempotent-Replayed: true`. Uploads are identified by fields, first \
            file name and length")),
    request_body(content(
        (DatasetRequest = "application/json"), (UploadForm = "multipart/form-data"), (String = "application/x-ndjson"),
        (Vec<u8> = "application/zip"), (Vec<u8> = "application/vnd.apache.parquet")
    )),
    responses(
        (status = 202, description = "The data set, `validating`, or `uploading` (in parts, or from a hub)",
            body = DatasetEntry),
        (status = "4XX", description = "A problem; `errors` names each bad field", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn create_dataset(
    state: AppState,
    QueryParams(query): QueryParams<UploadQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let fields = query.fields()?;
    match upload::kind(request.headers()) {
        Some(upload::Kind::Form) => upload::form(&state, fields, request).await,
        Some(upload::Kind::File(name)) => upload::file(&state, fields, request, name).await,
        Some(upload::Kind::Json) => register(&state, &fields, request).await,
        None => {
            let detail = "send multipart/form-data with files, one file as application/x-ndjson, application/zip or \
                          application/vnd.apache.parquet, or application/json with `source`";
            Err(Problem::new(problem::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

async fn register(state: &AppState, query: &Map<String, Value>, request: Request) -> Result<Response, Problem> {
    if let Some(name) = query.keys().next() {
        return Err(query_fault(name, format!("`{name}` must be in the JSON body")));
    }
    let headers: HeaderMap = request.headers().clone();
    let RawJson { bytes, value: request } = RawJson::<DatasetRequest>::from_request(request, state).await?;
    let service = state.service.clone();
    let work = async move {
        let record = service.datasets().register(request, None).await?;
        Ok((StatusCode::ACCEPTED, DatasetEntry::from(record)))
    };
    let again = |service: Service, id: String| async move {
        Ok((StatusCode::ACCEPTED, DatasetEntry::from(service.datasets().get(&id).await?)))
    };
    idempotency::once(&state.service, &headers, upload::ROUTE, &bytes, work, again).await
}

/// List data sets, by name.
#[utoipa::path(
    get, path = "/v1/datasets", tag = "datasets", operation_id = "list_datasets", params(WholeQuery),
    responses((status = 200, description = "All data sets, or a page of them", body = Listing<DatasetEntry>))
)]
async fn list_datasets(
    state: AppState,
    QueryParams(query): QueryParams<WholeQuery>,
) -> Result<axum::Json<Listing<DatasetEntry>>, Problem> {
    let datasets = state.service.datasets().list().await?;
    let entries = datasets.into_iter().map(DatasetEntry::from).collect();
    Ok(axum::Json(query.cut(entries, |entry: &DatasetEntry| &entry.id)?))
}

/// One data set, by name or id, with its state and the report of its check.
#[utoipa::path(
    get, path = "/v1/datasets/{id}", tag = "datasets", operation_id = "get_dataset",
    params(("id" = String, Path, description = "Its name, or `ds_…`")),
    responses((status = 200, body = DatasetEntry),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
async fn get_dataset(state: AppState, Path(id): Path<String>) -> Result<axum::Json<DatasetEntry>, Problem> {
    Ok(axum::Json(state.service.datasets().get(&id).await?.into()))
}

/// Delete a data set and its uploaded files. Files that were registered in place are kept.
#[utoipa::path(
    delete, path = "/v1/datasets/{id}", tag = "datasets", operation_id = "delete_dataset",
    params(("id" = String, Path, description = "Its name, or `ds_…`")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Unfinished jobs use it (`holders`), it is being downloaded, or it is built in",
            body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn delete_dataset(state: AppState, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    state.service.datasets().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RowsQuery {
    /// `train` (default) or `eval`: the held-out rows.
    split: Option<String>,
    /// Rows per page, 1 to 100 (default 20).
    limit: Option<u64>,
    /// The `next` of the page before: the number of the first row to show.
    after: Option<u64>,
    /// `small` (default): thumbnails of images; `full`: also the images (`picture`).
    images: Option<String>,
}

/// Preview rows as a job would read them, with thumbnails of their images.
#[utoipa::path(
    get, path = "/v1/datasets/{id}/rows", tag = "datasets", operation_id = "dataset_rows",
    params(("id" = String, Path, description = "Its name, or `ds_…`"), RowsQuery),
    responses(
        (status = 200, description = "A page of rows", body = Listing<PreviewRow>),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The data set is not ready, or its files have changed", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn dataset_rows(
    state: AppState,
    Path(id): Path<String>,
    QueryParams(query): QueryParams<RowsQuery>,
) -> Result<Response, Problem> {
    let held_out = match query.split.as_deref() {
        None | Some("train") => false,
        Some("eval") => true,
        Some(_) => return Err(query_fault("split", "`split` must be train or eval")),
    };
    let pictures = match query.images.as_deref() {
        None | Some("small") => false,
        Some("full") => true,
        Some(_) => return Err(query_fault("images", "`images` must be small or full")),
    };
    let limit = query.limit.unwrap_or(ROWS);
    if !(1..=MAX_ROWS).contains(&limit) {
        return Err(query_fault("limit", format!("`limit` is {limit}; it must be from 1 to {MAX_ROWS}")));
    }
    let wanted = RowsWanted { held_out, offset: query.after.unwrap_or(0), limit, pictures };
    answer::large(state.service.datasets().rows(&id, wanted).await?).await
}

/// The files of an upload in parts, with the bytes that have arrived.
#[utoipa::path(
    get, path = "/v1/datasets/{id}/files", tag = "datasets", operation_id = "dataset_files",
    params(("id" = String, Path, description = "Its name, or `ds_…`")),
    responses(
        (status = 200, description = "All files", body = Listing<UploadedFile>),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The data set does not accept parts, or no longer does", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn dataset_files(state: AppState, Path(id): Path<String>) -> Result<axum::Json<Listing<UploadedFile>>, Problem> {
    Ok(axum::Json(Listing::whole(state.service.datasets().uploaded_files(&id).await?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PartQuery {
    /// Where the part begins (default 0): the bytes that have arrived, or fewer to write the file anew from there.
    offset: Option<u64>,
}

/// Send a part of a file; the body is its bytes.
///
/// Data that arrived before a connection broke is kept: `GET …/files` returns where to continue. One part at a time.
#[utoipa::path(
    put, path = "/v1/datasets/{id}/files/{*path}", tag = "datasets", operation_id = "put_dataset_file",
    params(("id" = String, Path, description = "Its name, or `ds_…`"),
        ("path" = String, Path, description = "The file's path inside the data set"), PartQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The file with the part", body = UploadedFile),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409,
            description = "The part would leave a gap, another one is being written, or parts are not \
                          accepted", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn put_dataset_file(
    state: AppState,
    Path((id, path)): Path<(String, String)>,
    QueryParams(query): QueryParams<PartQuery>,
    request: Request,
) -> Result<axum::Json<UploadedFile>, Problem> {
    let part = state.service.datasets().begin_part(&id, &path, query.offset.unwrap_or(0)).await?;
    Ok(axum::Json(upload::part(&state, part, request).await?))
}

/// Finish an upload in parts and check its rows.
#[utoipa::path(
    post, path = "/v1/datasets/{id}/finish", tag = "datasets", operation_id = "finish_dataset",
    params(("id" = String, Path, description = "Its name, or `ds_…`")),
    responses(
        (status = 202, description = "The data set, `validating`", body = DatasetEntry),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The data set does not accept parts, or no longer does", body = ProblemBody,
            content_type = "application/problem+json")
    )
)]
async fn finish_dataset(
    state: AppState,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<DatasetEntry>), Problem> {
    Ok((StatusCode::ACCEPTED, axum::Json(state.service.datasets().finish_parts(&id).await?.into())))
}
