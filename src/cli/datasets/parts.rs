//! Uploads in parts: a broken connection only costs one part, and an interrupted command can be resumed.

use std::collections::BTreeMap;
use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::upload::Source;
use crate::cli::client::{Client, ClientError};
use crate::cli::jobs::text;

/// Bytes of a part.
const PART: u64 = 16 << 20;
/// Number of consecutive failures that end the command.
const PATIENCE: u32 = 8;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends files in parts and requests their check. Resumes a data set of that name that waits for parts.
pub async fn send(client: &Client, mut fields: Map<String, Value>, files: &[Source]) -> Result<Value, Failure> {
    let name = fields.get("name").and_then(Value::as_str).map(str::to_owned);
    let name = name.ok_or("an upload in parts needs --name, so that the same command can continue it")?;
    let waiting = match client.get(&format!("/v1/datasets/{name}")).await {
        Ok(entry) => entry["state"] == "uploading",
        Err(ClientError::Refused { status: 404, .. }) => false,
        Err(error) => return Err(error.into()),
    };
    if !waiting {
        fields.insert("source".to_owned(), json!({"upload": "parts"}));
        client.post("/v1/datasets", &Value::Object(fields)).await?;
    }
    let mut there = arrived(client, &name).await?;
    for source in files {
        file(client, &name, source, there.remove(&source.inside).unwrap_or(0)).await?;
    }
    Ok(client.post(&format!("/v1/datasets/{name}/finish"), &json!({})).await?)
}

/// Bytes that have arrived, by file.
async fn arrived(client: &Client, name: &str) -> Result<BTreeMap<String, u64>, ClientError> {
    let files = client.get(&format!("/v1/datasets/{name}/files")).await?;
    let files = files["data"].as_array().into_iter().flatten();
    Ok(files.map(|file| (text(file, "path"), file["bytes"].as_u64().unwrap_or_default())).collect())
}

async fn file(client: &Client, name: &str, source: &Source, arrived_before: u64) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", source.path.display());
    let length = tokio::fs::metadata(&source.path).await.map_err(cannot)?.len();
    // More than the file has: it is a different file and is sent again.
    let mut offset = if arrived_before > length { 0 } else { arrived_before };
    let (mut failures, mut begun) = (0, arrived_before == length && length > 0);
    while offset < length || !begun {
        let bytes = read(&source.path, offset).await.map_err(cannot)?;
        let path = format!("/v1/datasets/{name}/files/{}?offset={offset}", encoded(&source.inside));
        match client.put(&path, bytes).await {
            Ok(file) => {
                (failures, begun) = (0, true);
                offset = file["bytes"].as_u64().ok_or("the server's answer has no `bytes` of a part")?;
            }
            // A part of a broken connection may still be being written.
            Err(ClientError::Refused { status, body }) if status < 500 && status != 409 => {
                return Err(ClientError::Refused { status, body }.into());
            }
            Err(error) if failures >= PATIENCE => return Err(error.into()),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(250 << failures)).await;
                failures += 1;
                if let Ok(there) = arrived(client, name).await {
                    offset = there.get(&source.inside).copied().unwrap_or(0).min(length);
                }
            }
        }
    }
    Ok(())
}

async fn read(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    let mut bytes = Vec::new();
    file.take(PART).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// A path as a part of a URL.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
